//! The commands at the front of a push: which refs go from where to where.
//!
//! Spec: git's `gitprotocol-pack`, "Reference Update Request": pkt-lines `OLD NEW REF`, the first
//! with a NUL and capabilities, after any number of `shallow` lines, until a flush packet. Signed
//! pushes (`push-cert`) carry them inside a certificate and are refused as unreadable.

use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;

/// More than this before the flush packet is no push that the host wants to judge.
const LONGEST: usize = 64 * 1024;

/// One ref that a push moves. An id of zeros stands for "not there".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    pub name: String,
    pub old: String,
    pub new: String,
}

/// The front of a push, read, and all bytes that were taken from the body to read it.
pub(super) struct Commands {
    pub(super) updates: Vec<RefUpdate>,
    pub(super) report_status: bool,
    pub(super) side_band: bool,
    pub(super) taken: Bytes,
}

/// The front of the body is not a list of commands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

/// Reads a body up to the flush packet after the commands, and maybe somewhat further.
pub(super) async fn read(body: &mut Body) -> Result<Commands, Unreadable> {
    let mut taken = Vec::new();
    loop {
        if let Some(mut commands) = parse(&taken)? {
            commands.taken = Bytes::from(taken);
            return Ok(commands);
        }
        match body.frame().await {
            Some(Ok(frame)) => taken.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Some(Err(_)) | None => return Err(Unreadable("the command list breaks off")),
        }
    }
}

/// Parses what is there; none when more of it is needed.
fn parse(taken: &[u8]) -> Result<Option<Commands>, Unreadable> {
    let mut commands = Commands {
        updates: Vec::new(),
        report_status: false,
        side_band: false,
        taken: Bytes::new(),
    };
    let mut at = 0;
    loop {
        // Why here: what has come of a packfile behind the flush packet does not count.
        if at > LONGEST || (at == 0 && taken.is_empty()) {
            return if at > LONGEST { Err(Unreadable("too many commands")) } else { Ok(None) };
        }
        let Some(length) = taken.get(at..at + 4) else {
            return Ok(None);
        };
        let length = length_of(length)?;
        if length == 0 {
            return Ok(Some(commands));
        }
        let Some(line) = taken.get(at + 4..at + length) else {
            return Ok(None);
        };
        at += length;
        commands.add(line)?;
    }
}

fn length_of(prefix: &[u8]) -> Result<usize, Unreadable> {
    let hex = std::str::from_utf8(prefix).map_err(|_| Unreadable("no pkt-line"))?;
    if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Unreadable("no pkt-line"));
    }
    match usize::from_str_radix(hex, 16) {
        Ok(length) if length == 0 || (5..=65_520).contains(&length) => Ok(length),
        _ => Err(Unreadable("a pkt-line of a length that cannot be")),
    }
}

impl Commands {
    fn add(&mut self, line: &[u8]) -> Result<(), Unreadable> {
        let line = std::str::from_utf8(line).map_err(|_| Unreadable("a command is not text"))?;
        let (command, capabilities) = match line.split_once('\0') {
            Some((command, capabilities)) if self.updates.is_empty() => (command, capabilities),
            Some(_) => return Err(Unreadable("capabilities stand after a later command")),
            None => (line, ""),
        };
        let command = command.strip_suffix('\n').unwrap_or(command);
        if let Some(id) = command.strip_prefix("shallow ") {
            return if is_id(id) {
                Ok(())
            } else {
                Err(Unreadable("a shallow line is unreadable"))
            };
        }
        for capability in capabilities.split_whitespace() {
            self.report_status |= capability.starts_with("report-status");
            self.side_band |= capability == "side-band-64k";
        }

        let mut words = command.splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            return Err(Unreadable("a command is not `OLD NEW REF`"));
        };
        if !is_id(old) || !is_id(new) || old.len() != new.len() || !is_ref(name) {
            return Err(Unreadable("a command is not `OLD NEW REF`"));
        }
        self.updates.push(RefUpdate {
            name: name.to_owned(),
            old: old.to_owned(),
            new: new.to_owned(),
        });
        Ok(())
    }
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_ref(name: &str) -> bool {
    name.starts_with("refs/") && !name.contains(|c: char| c.is_control() || c == ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "0000000000000000000000000000000000000000";
    const ONE: &str = "1111111111111111111111111111111111111111";

    fn line(text: &str) -> String {
        format!("{:04x}{text}", text.len() + 4)
    }

    async fn updates(body: impl Into<Vec<u8>>) -> Result<Vec<RefUpdate>, Unreadable> {
        let mut body = Body::from(body.into());
        read(&mut body).await.map(|commands| commands.updates)
    }

    #[tokio::test]
    async fn a_push_of_two_refs_is_read_in_order() {
        let body = line(&format!("shallow {ONE}"))
            + &line(&format!("{ZERO} {ONE} refs/heads/a\0 report-status side-band-64k"))
            + &line(&format!("{ONE} {ZERO} refs/heads/b\n"))
            + "0000PACK\u{1}";
        let read = updates(body).await.unwrap();
        let names: Vec<_> = read.iter().map(|update| update.name.as_str()).collect();
        assert_eq!(names, ["refs/heads/a", "refs/heads/b"]);
        assert_eq!((read[0].old.as_str(), read[0].new.as_str()), (ZERO, ONE));
        assert_eq!((read[1].old.as_str(), read[1].new.as_str()), (ONE, ZERO));
    }

    #[tokio::test]
    async fn a_lone_flush_packet_moves_nothing() {
        assert_eq!(updates("0000").await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn what_is_not_a_command_list_is_refused() {
        let good = format!("{ZERO} {ONE} refs/heads/a");
        for bad in [
            String::new(),
            "000".to_owned(),
            "0001".to_owned(),
            "0004".to_owned(),
            format!("+{:03x}{good}0000", good.len() + 4),
            "fffe".to_owned(),
            line(&good),
            line("push-cert\0 x") + "0000",
            line(&format!("{ZERO} {ONE} HEAD")) + "0000",
            line(&format!("{ZERO} 1111 refs/heads/a")) + "0000",
            line(&good) + &line(&format!("{good}\0 atomic")) + "0000",
            line(&good).repeat(1000) + "0000",
        ] {
            assert!(updates(bad.clone()).await.is_err(), "{bad:.60}");
        }
        assert!(updates([0x1f, 0x8b, 8, 0, 0]).await.is_err(), "gzip");
    }
}

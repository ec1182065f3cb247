//! The front of a push: which refs go from where to where, and what the client can do.
//!
//! Spec: `gitprotocol-pack`, "Reference Update Request and Packfile Transfer": after any number of
//! `shallow` lines pkt-lines `OLD NEW REF`, the first with a NUL and capabilities, until a flush packet.
//! Whatever else stands there is refused: what is not understood can't be decided.

use gix_packetline::{PacketLineRef, decode};

use crate::{
    limits::{PUSH_HEAD_BYTES, PUSH_REFS},
    line::line,
    name::{ObjectId, RefName},
};

/// One ref that a push would move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Which.
    pub name: RefName,
    /// Where it stood, by the one who pushes; the upstream holds it against the truth.
    pub old: ObjectId,
    /// Where it is to go.
    pub new: ObjectId,
}

/// The front of a push.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commands {
    /// What it would move, no ref twice; none at all in the probe that git sends before a long push.
    pub updates: Vec<Update>,
    /// Commits whose parents the client does not have. The upstream is not told of them: see
    /// [`Commands::with_only`].
    pub shallow: Vec<ObjectId>,
    /// All or nothing.
    pub atomic: bool,
    /// How it wants to hear of the outcome.
    pub reports: bool,
    /// Whether it hears words beside the outcome.
    pub side_band: bool,
    /// Capabilities that the upstream is told too.
    pub passed_on: Vec<String>,
}

/// Why the front of a push is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It breaks off.
    #[error("the push breaks off before it says what it moves")]
    Short,
    /// It never ends.
    #[error("the push moves more than {PUSH_REFS} refs; push them in parts")]
    TooMany,
    /// It is no pkt-line, or one that does not belong there.
    #[error("the push can't be read: {0}")]
    Odd(&'static str),
    /// It wants what the gateway does not pass on.
    #[error("the push {0}")]
    NotTaken(&'static str),
    /// A ref that nobody should have.
    #[error("{0}")]
    Ref(String),
}

/// Capabilities of a client that mean nothing for what is decided, and that the upstream may know.
const HARMLESS: [&str; 6] =
    ["report-status", "report-status-v2", "side-band-64k", "quiet", "atomic", "ofs-delta"];

impl Commands {
    /// Reads what has come so far. Gives the commands and how many bytes they took, or nothing while more
    /// is needed.
    ///
    /// # Errors
    /// When it is not understood whole.
    pub fn parse(taken: &[u8]) -> Result<Option<(Self, usize)>, Unreadable> {
        let mut commands = Self::default();
        let mut at = 0_usize;
        loop {
            if at > PUSH_HEAD_BYTES {
                return Err(Unreadable::TooMany);
            }
            let rest = taken.get(at..).unwrap_or_default();
            let line = decode::streaming(rest).map_err(|_| Unreadable::Odd("no pkt-line"))?;
            let (line, consumed) = match line {
                decode::Stream::Complete { line, bytes_consumed } => (line, bytes_consumed),
                decode::Stream::Incomplete { .. } => return Ok(None),
            };
            at = at.saturating_add(consumed);
            match line {
                PacketLineRef::Data(line) => commands.add(line)?,
                PacketLineRef::Flush => return Ok(Some((commands, at))),
                PacketLineRef::Delimiter | PacketLineRef::ResponseEnd => {
                    return Err(Unreadable::Odd("a packet that does not belong there"));
                }
            }
        }
    }

    fn add(&mut self, line: &[u8]) -> Result<(), Unreadable> {
        let text = |bytes| str::from_utf8(bytes).map_err(|_| Unreadable::Odd("a line is no text"));
        let (command, capabilities) = match line.iter().position(|byte| *byte == 0) {
            None => (line, None),
            Some(_) if !self.updates.is_empty() => {
                return Err(Unreadable::Odd("capabilities stand twice"));
            }
            Some(at) => {
                let (command, rest) = line.split_at(at);
                (command, Some(text(rest.get(1..).unwrap_or_default())?))
            }
        };
        let command = text(command.strip_suffix(b"\n").unwrap_or(command))?;
        if command == "push-cert" {
            return Err(Unreadable::NotTaken(
                "is signed; the gateway can't pass a signed push on: push without --signed",
            ));
        }
        if let Some(id) = command.strip_prefix("shallow ") {
            let id = ObjectId::parse(id.as_bytes()).filter(|_| capabilities.is_none());
            let id = id.ok_or(Unreadable::Odd("a shallow line"))?;
            if self.shallow.len() >= PUSH_REFS || !self.updates.is_empty() {
                return Err(Unreadable::Odd("shallow lines"));
            }
            self.shallow.push(id);
            return Ok(());
        }
        if let Some(capabilities) = capabilities {
            self.can(capabilities)?;
        }
        let mut words = command.splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            return Err(Unreadable::Odd("a command is not `OLD NEW REF`"));
        };
        let id = |text: &str| {
            ObjectId::parse(text.as_bytes()).ok_or(match text.len() {
                64 => {
                    Unreadable::NotTaken("names objects by SHA-256, which the gateway can't check")
                }
                _ => Unreadable::Odd("a command is not `OLD NEW REF`"),
            })
        };
        let (old, new) = (id(old)?, id(new)?);
        let name = RefName::parse(name).map_err(Unreadable::Ref)?;
        if old.is_none() && new.is_none() {
            return Err(Unreadable::Odd("a command that moves nothing"));
        }
        // Why: of two commands for one ref, one side looks at the first and another at the second. And on a
        // host that folds case two names may be one.
        let same = |other: &Update| other.name.as_str().eq_ignore_ascii_case(name.as_str());
        if self.updates.iter().any(same) {
            return Err(Unreadable::Odd("one ref stands there twice, or in two spellings"));
        }
        if self.updates.len() >= PUSH_REFS {
            return Err(Unreadable::TooMany);
        }
        self.updates.push(Update { name, old, new });
        Ok(())
    }

    fn can(&mut self, capabilities: &str) -> Result<(), Unreadable> {
        for capability in capabilities.split_ascii_whitespace() {
            match capability {
                "push-options" => {
                    return Err(Unreadable::NotTaken(
                        "has options, which the gateway does not pass on: push without --push-option",
                    ));
                }
                "atomic" => self.atomic = true,
                "report-status" | "report-status-v2" => self.reports = true,
                "side-band-64k" => self.side_band = true,
                _ => {}
            }
            let (name, value) = capability.split_once('=').unwrap_or((capability, ""));
            if name == "object-format" && value != "sha1" {
                return Err(Unreadable::NotTaken(
                    "names objects by another hash than SHA-1, which the gateway can't check",
                ));
            }
            if HARMLESS.contains(&capability) {
                self.passed_on.push(capability.to_owned());
            }
        }
        Ok(())
    }

    /// The same front with these updates alone, as the upstream is told it.
    ///
    /// Why without `shallow` lines: they make an upstream take a commit for one without parents, and
    /// may cut the history of its repository there. What was decided is about the parents that the
    /// commits name. A clone of a part of the history needs no such line, for the upstream has the
    /// rest; a push that does need one is rejected there, because objects are missing.
    #[must_use]
    pub fn with_only(&self, updates: &[Update]) -> Vec<u8> {
        let mut written = Vec::new();
        for (place, Update { name, old, new }) in updates.iter().enumerate() {
            let capabilities = match place {
                0 => format!("\0 {} object-format=sha1 agent=jeton", self.passed_on.join(" ")),
                _ => String::new(),
            };
            line(&mut written, format!("{old} {new} {name}{capabilities}").as_bytes());
        }
        written.extend_from_slice(b"0000");
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZERO: &str = "0000000000000000000000000000000000000000";
    const ONE: &str = "1111111111111111111111111111111111111111";

    fn pkt(text: &str) -> String {
        format!("{:04x}{text}", text.len() + 4)
    }

    fn parsed(text: &str) -> Result<Option<(Commands, usize)>, Unreadable> {
        Commands::parse(text.as_bytes())
    }

    #[test]
    fn a_push_of_two_refs_is_read_in_order_and_told_on_without_what_was_refused() {
        let front = pkt(&format!("shallow {ONE}"))
            + &pkt(&format!(
                "{ZERO} {ONE} refs/heads/a\0 report-status side-band-64k atomic agent=git/2 session-id=x"
            ))
            + &pkt(&format!("{ONE} {ZERO} refs/heads/b\n"))
            + "0000";
        let (read, taken) = parsed(&format!("{front}PACK\u{1}")).unwrap().unwrap();
        assert_eq!(taken, front.len());
        let names: Vec<_> = read.updates.iter().map(|update| update.name.as_str()).collect();
        assert_eq!(names, ["refs/heads/a", "refs/heads/b"]);
        assert!(read.atomic && read.reports && read.side_band);
        let told = String::from_utf8(read.with_only(&read.updates[1..])).unwrap();
        let capabilities = "report-status side-band-64k atomic object-format=sha1 agent=jeton";
        let wanted = pkt(&format!("{ONE} {ZERO} refs/heads/b\0 {capabilities}")) + "0000";
        assert_eq!((told, read.shallow.len()), (wanted, 1), "the upstream hears of no cut history");
        for cut in 0..front.len() {
            assert_eq!(parsed(&front[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn what_is_not_understood_whole_is_refused() {
        let good = format!("{ZERO} {ONE} refs/heads/a");
        for bad in [
            "0001".to_owned(),
            "0002".to_owned(),
            "0003".to_owned(),
            "0004".to_owned(),
            format!("+{:03x}{good}0000", good.len() + 4),
            "fffe".to_owned(),
            "zzzz".to_owned(),
            pkt("push-cert\0 x") + "0000",
            pkt(&format!("{good}\0 push-options")) + "0000",
            pkt(&format!("{good}\0 object-format=sha256")) + "0000",
            pkt(&format!("{ZERO} {ONE} HEAD")) + "0000",
            pkt(&format!("{ZERO} 1111 refs/heads/a")) + "0000",
            pkt(&format!("{ZERO} {ZERO} refs/heads/a")) + "0000",
            pkt(&good) + &pkt(&format!("{ONE} {ZERO} refs/heads/a")) + "0000",
            pkt(&good) + &pkt(&format!("{ONE} {ZERO} refs/heads/A")) + "0000",
            pkt(&good) + &pkt(&format!("{ONE} {ZERO} refs/heads/b\0 atomic")) + "0000",
            pkt(&good) + &pkt(&format!("shallow {ONE}")) + "0000",
            pkt(&format!("{}{}", ZERO, "0".repeat(24))) + "0000",
            pkt(&format!("{good}\u{0}\u{0}")) + &pkt(&good) + "0000",
        ] {
            let found = parsed(&bad);
            assert!(found.is_err(), "{bad:.60}: {found:?}");
        }
        assert!(Commands::parse(&[0x1f, 0x8b, 8, 0, 0]).is_err(), "gzip");
        let many: String =
            (0..1000).map(|n| pkt(&format!("{ZERO} {ONE} refs/heads/{n}"))).collect();
        assert_eq!(parsed(&(many + "0000")), Err(Unreadable::TooMany));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_told_on_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((commands, taken))) = Commands::parse(&bytes) {
                prop_assert!(taken <= bytes.len());
                let told = commands.with_only(&commands.updates);
                let (again, _) = Commands::parse(&told).unwrap().unwrap();
                prop_assert_eq!(again.updates, commands.updates);
            }
        }
    }
}

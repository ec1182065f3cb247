//! Looks for the credential in what comes back, and puts stars in its place.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use base64::{
    Engine,
    engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE},
};
use jeton_domain::secret::Secret;
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use zeroize::Zeroizing;

use crate::upstream::Credential;

/// The ways in which a credential may be written.
pub(super) struct Marks(Vec<Zeroizing<Vec<u8>>>);

/// The credential as it is, and as it is sent in `Basic`.
pub(super) fn marks(credential: &Credential) -> Marks {
    let secret = credential.secret.expose();
    let pair = Zeroizing::new(format!("x-access-token:{secret}"));
    // Why without the last group: it depends on what stands behind.
    let encoded = |engine: &GeneralPurpose, bytes: &[u8]| {
        let whole = bytes.len().saturating_sub(bytes.len() % 3);
        let whole = bytes.get(..whole).unwrap_or_default();
        Zeroizing::new(engine.encode(whole).into_bytes())
    };
    let mut ways = vec![Zeroizing::new(secret.as_bytes().to_vec())];
    ways.extend(spellings(secret));
    // A key for `Basic` is a user and a password.
    let pair_of_key = STANDARD.decode(secret).ok().map(Zeroizing::new);
    let pair_of_key = pair_of_key.as_ref().and_then(|bytes| str::from_utf8(bytes).ok());
    if let Some((_, password)) = pair_of_key.and_then(|text| text.split_once(':')) {
        ways.extend(pair_of_key.map(|text| Zeroizing::new(text.as_bytes().to_vec())));
        ways.push(Zeroizing::new(password.as_bytes().to_vec()));
        ways.extend(spellings(password));
    }
    for engine in [&STANDARD, &URL_SAFE] {
        for skipped in 0..3 {
            ways.push(encoded(engine, secret.as_bytes().get(skipped..).unwrap_or_default()));
        }
        ways.push(encoded(engine, pair.as_bytes()));
    }
    // Why: nothing can be told of an empty one, and of a short one everything.
    Marks(ways.into_iter().filter(|way| way.len() >= SHORTEST).collect())
}

/// A secret as JSON, URLs and HTML may write it, where that is another way.
fn spellings(secret: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let written = |way: &dyn Fn(char) -> String| -> Zeroizing<String> {
        Zeroizing::new(secret.chars().map(way).collect())
    };
    let odd = |letter: char| !letter.is_ascii_alphanumeric() && !"-._~".contains(letter);
    let code = |letter: char| u32::from(letter);
    let json = |letter: char| match letter {
        '"' | '\\' => format!("\\{letter}"),
        letter => letter.to_string(),
    };
    let slashed = |letter: char| if letter == '/' { "\\/".to_owned() } else { json(letter) };
    let html = |letter: char| match letter {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#39;".to_owned(),
        letter => letter.to_string(),
    };
    let of = |odd: &dyn Fn(char) -> bool, write: &dyn Fn(char) -> String| {
        written(&|letter| if odd(letter) { write(letter) } else { letter.to_string() })
    };
    // What encoders of JSON write as a number, though they need not.
    let careful = |letter: char| "&<>'".contains(letter);
    let more_careful = |letter: char| "&<>'+\"`".contains(letter);
    let all = [
        written(&json),
        written(&slashed),
        written(&html),
        of(&odd, &|letter| format!("%{:02X}", code(letter))),
        of(&odd, &|letter| format!("%{:02x}", code(letter))),
        of(&careful, &|letter| format!("\\u{:04x}", code(letter))),
        of(&more_careful, &|letter| format!("\\u{:04X}", code(letter))),
    ];
    let mut found: Vec<Zeroizing<Vec<u8>>> = Vec::new();
    for way in all.iter().filter(|way| way.as_str() != secret) {
        if !found.iter().any(|known| known.as_slice() == way.as_bytes()) {
            found.push(Zeroizing::new(way.as_bytes().to_vec()));
        }
    }
    found
}

/// Shortest text that is looked for.
const SHORTEST: usize = 8;

impl Marks {
    /// Looks for this as well.
    pub fn also(mut self, secret: &Secret) -> Self {
        let secret = secret.expose().as_bytes();
        if secret.len() >= SHORTEST {
            self.0.push(Zeroizing::new(secret.to_vec()));
        }
        self
    }

    /// Whether one of them stands there.
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|mark| bytes.windows(mark.len()).any(|part| part == mark.as_slice()))
    }

    fn longest(&self) -> usize {
        self.0.iter().map(|mark| mark.len()).max().unwrap_or(0)
    }

    /// Puts stars in the place of each.
    fn cover(&self, bytes: &mut [u8]) {
        for mark in &self.0 {
            let mut from = 0_usize;
            while let Some(at) = find(bytes.get(from..).unwrap_or_default(), mark) {
                let start = from.saturating_add(at);
                let end = start.saturating_add(mark.len());
                bytes.get_mut(start..end).unwrap_or_default().fill(b'*');
                from = end;
            }
        }
    }
}

/// Where a text begins in another. Why by its first byte: credentials are rare, and this is fast.
fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    let first = *mark.first()?;
    let mut from = 0_usize;
    loop {
        let at = memchr::memchr(first, bytes.get(from..)?)?;
        let start = from.saturating_add(at);
        if bytes.get(start..)?.starts_with(mark) {
            return Some(start);
        }
        from = start.saturating_add(1);
    }
}

/// A stream in which the credential is covered, also where it is cut between two pieces.
pub(super) struct Masked<S> {
    inner: S,
    marks: Marks,
    /// The end of what came, which may be the beginning of a credential.
    held: Vec<u8>,
    /// Bytes of it that went on, because nothing came behind them.
    sent: usize,
    pause: Option<Pin<Box<Sleep>>>,
    over: bool,
}

/// How long an end that may be the beginning of a credential waits for what comes behind it.
const PAUSE: Duration = Duration::from_millis(30);
/// Longest end that goes on then. Why so few: they are all of a credential that one who sends it bit by bit
/// gets through.
const BEGINNING: usize = 4;

impl<S> Masked<S> {
    /// Looks through this.
    pub fn new(inner: S, marks: Marks) -> Self {
        Self { inner, marks, held: Vec::new(), sent: 0, pause: None, over: false }
    }

    /// Lets a short end go on when nothing comes behind it: whoever waits for the last letter of a message
    /// would wait for the next message. What it began is covered all the same when it comes.
    fn waited(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.held.len() > BEGINNING || self.held.len() <= self.sent {
            return Poll::Pending;
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
        if pause.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.pause = None;
        let end = self.held.get(self.sent..).unwrap_or_default();
        let end = Bytes::copy_from_slice(end);
        self.sent = self.held.len();
        Poll::Ready(Some(Ok(end)))
    }

    /// How much of the end might be the beginning of a mark.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let most = self.marks.longest().saturating_sub(1).min(bytes.len());
        let tail = bytes.get(bytes.len().saturating_sub(most)..).unwrap_or_default();
        let begins = |at: &usize| {
            let end = tail.get(*at..).unwrap_or_default();
            self.marks.0.iter().any(|mark| mark.starts_with(end))
        };
        (0..tail.len()).find(begins).map_or(0, |at| tail.len().saturating_sub(at))
    }
}

impl<S, E> Stream for Masked<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.inner).poll_next(cx) {
                Poll::Pending => return self.waited(cx),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(io::Error::other(error))));
                }
                Poll::Ready(None) => {
                    self.over = true;
                    let mut rest = std::mem::take(&mut self.held);
                    self.marks.cover(&mut rest);
                    rest.drain(..self.sent.min(rest.len()));
                    return Poll::Ready((!rest.is_empty()).then(|| Ok(Bytes::from(rest))));
                }
                Poll::Ready(Some(Ok(piece))) => {
                    self.pause = None;
                    let mut bytes = std::mem::take(&mut self.held);
                    bytes.extend_from_slice(&piece);
                    self.marks.cover(&mut bytes);
                    let open = self.open_end(&bytes);
                    self.held = bytes.split_off(bytes.len().saturating_sub(open));
                    let gone = self.sent.min(bytes.len());
                    self.sent = self.sent.saturating_sub(gone);
                    bytes.drain(..gone);
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(Bytes::from(bytes))));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jeton_domain::ttl::Timestamp;
    use proptest::prelude::*;
    use tokio_stream::StreamExt;

    use super::*;
    use crate::upstream::CredentialKind;

    fn credential(secret: &str) -> Credential {
        Credential {
            secret: Secret::new(secret.to_owned()),
            kind: CredentialKind::SignedJwt,
            dies: Timestamp::from_seconds(0),
        }
    }

    fn masked(pieces: Vec<Vec<u8>>, secret: &str) -> Vec<u8> {
        let pieces = pieces.into_iter().map(|piece| Ok::<_, io::Error>(Bytes::from(piece)));
        let stream = Masked::new(tokio_stream::iter(pieces), marks(&credential(secret)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let pieces = runtime.block_on(stream.map(Result::unwrap).collect::<Vec<_>>());
        pieces.concat()
    }

    #[test]
    fn a_credential_is_covered_wherever_it_is_cut() {
        let text = b"before canary-secret after canary-secrecanary-secret";
        for cut in 0..text.len() {
            let (one, two) = text.split_at(cut);
            let told = masked(vec![one.to_vec(), two.to_vec()], "canary-secret");
            let wanted = "before ************* after canary-secre*************";
            assert_eq!(String::from_utf8(told).unwrap(), wanted, "{cut}");
        }
        let basic = STANDARD.encode("x-access-token:canary-secret");
        let told = masked(vec![format!("Basic {basic}").into_bytes()], "canary-secret");
        let told = String::from_utf8(told).unwrap();
        // All of it but what is no secret before it, and a last group that stands for two letters at most.
        assert!(told.contains("****************") && !told.contains("Y2FuYXJ5"), "{told}");
    }

    #[test]
    fn a_key_is_covered_in_every_spelling_that_answers_have() {
        let key = "sk-canary/0123+456=ab&cd";
        for written in [
            r"sk-canary\/0123+456=ab&cd",
            r"sk-canary/0123+456=ab\u0026cd",
            r"sk-canary/0123\u002B456=ab\u0026cd",
            "sk-canary%2F0123%2B456%3Dab%26cd",
            "sk-canary%2f0123%2b456%3dab%26cd",
            "sk-canary/0123+456=ab&amp;cd",
        ] {
            let told = masked(vec![format!("<{written}>").into_bytes()], key);
            let wanted = format!("<{}>", "*".repeat(written.len()));
            assert_eq!(String::from_utf8(told).unwrap(), wanted, "{written}");
        }
        let basic = STANDARD.encode("user@acme.dev:canary-password");
        let told = masked(vec![b"you are canary-password".to_vec()], &basic);
        assert_eq!(String::from_utf8(told).unwrap(), "you are ***************");
    }

    #[test]
    fn an_end_that_only_looks_like_a_beginning_goes_on_after_a_while_and_the_rest_is_covered() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let told = runtime.block_on(async {
            let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(1);
            let pieces = tokio_stream::wrappers::ReceiverStream::new(receiver);
            let mut stream = Masked::new(pieces, marks(&credential("canary-secret")));
            let mut told = Vec::new();
            for piece in ["a message c", "an", "ary", "-sec", "ret, and c"] {
                sender.send(Ok(Bytes::from(piece))).await.unwrap();
                let wait = tokio::time::timeout(Duration::from_millis(200), stream.next());
                if let Ok(Some(piece)) = wait.await {
                    told.push(String::from_utf8(piece.unwrap().to_vec()).unwrap());
                    let end = tokio::time::timeout(Duration::from_millis(200), stream.next());
                    let end = end.await.ok().flatten().map(Result::unwrap);
                    told.extend(end.map(|end| String::from_utf8(end.to_vec()).unwrap()));
                }
            }
            told
        });
        assert_eq!(told, ["a message ", "c", "an", "**********, and ", "c"]);
    }

    proptest! {
        #[test]
        fn what_holds_no_credential_stays_as_it_is(pieces in proptest::collection::vec(proptest::collection::vec(b'a'..b'e', 0..6), 0..8)) {
            prop_assert_eq!(masked(pieces.clone(), "abcdabcdX"), pieces.concat());
            let covered = masked(pieces, "abcdabcd");
            prop_assert!(!marks(&credential("abcdabcd")).are_in(&covered));
        }
    }
}

//! Signed notes (C2SP signed-note): a text, and who vouches for it.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{digest, signature};

use crate::jose::weak_key::is_weak_ed25519;

/// Largest note, in bytes. Why: a checkpoint with sixteen cosignatures takes 3 KiB.
const NOTE_BYTES: usize = 64 * 1024;
/// Signatures of a note. Why: a log has a handful of witnesses.
const SIGNATURES: usize = 16;
/// What begins each line of a signature.
const SIGNED: &str = "\u{2014} ";
/// Algorithm byte of Ed25519.
const ED25519: u8 = 1;
/// Algorithm byte of a witness's cosignature (C2SP tlog-cosignature).
const COSIGNATURE: u8 = 4;

/// Name of a key: that of a log or a witness.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// The public half of a key that signs notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    public: [u8; 32],
}

/// The public key of a witness: it signs that it saw a checkpoint, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: KeyName,
    public: [u8; 32],
}

/// A text with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: KeyName,
    key_id: [u8; 4],
    bytes: Vec<u8>,
}

/// Why a text is no note, or not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a name of a key.
    #[error("`{0}` can't name a key: it is empty, or holds a space or a `+`")]
    Name(String),
    /// Not a public key.
    #[error("`{0}` is no verifier key; one looks like `NAME+0123abcd+BASE64`")]
    Key(String),
    /// Not a signed note.
    #[error("it is no signed note: {0}")]
    Shape(&'static str),
    /// None of the known keys signed it.
    #[error("it is not signed by `{0}`")]
    Unsigned(String),
    /// A known key did not sign this text.
    #[error("the signature of `{0}` does not fit the text: it was changed, or forged")]
    Forged(String),
}

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty or holds a space, a control character or a `+`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if text.is_empty() || text.len() > 256 || text.contains(bad) {
            return Err(NoteError::Name(crate::id::quote(text)));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl VerifierKey {
    /// Joins a name with the 32 bytes of an Ed25519 public key.
    #[must_use]
    pub fn new(name: KeyName, public: [u8; 32]) -> Self {
        Self { name, public }
    }

    /// Reads `NAME+KEYID+BASE64`.
    ///
    /// # Errors
    /// When it is not of that form, or its id is not that of its key.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, public) = parse_key(text, ED25519)?;
        Ok(Self { name, public })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// Its id: the first bytes of SHA-256 over name, line feed, algorithm and key.
    fn id(&self) -> [u8; 4] {
        key_id(&self.name, ED25519, &self.public)
    }

    fn verifies(&self, text: &str, bytes: &[u8]) -> bool {
        signature::UnparsedPublicKey::new(&signature::ED25519, &self.public)
            .verify(text.as_bytes(), bytes)
            .is_ok()
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(&self.public);
        let id = crate::secret::hex(&self.id());
        write!(f, "{}+{id}+{}", self.name.0, STANDARD.encode(bytes))
    }
}

impl WitnessKey {
    /// Joins a name with the 32 bytes of an Ed25519 public key.
    #[must_use]
    pub fn new(name: KeyName, public: [u8; 32]) -> Self {
        Self { name, public }
    }

    /// Reads `NAME+KEYID+BASE64`.
    ///
    /// # Errors
    /// When it is not of that form, or its id is not that of its key.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, public) = parse_key(text, COSIGNATURE)?;
        Ok(Self { name, public })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The time of a cosignature, in seconds since 1970, if it is one of this text.
    fn time_of(&self, text: &str, bytes: &[u8]) -> Option<u64> {
        let (time, signature) = bytes.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        let signed = format!("cosignature/v1\ntime {time}\n{text}");
        let key = signature::UnparsedPublicKey::new(&signature::ED25519, &self.public);
        key.verify(signed.as_bytes(), signature).is_ok().then_some(time)
    }
}

impl std::fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = [&[COSIGNATURE], self.public.as_slice()].concat();
        let id = crate::secret::hex(&key_id(&self.name, COSIGNATURE, &self.public));
        write!(f, "{}+{id}+{}", self.name.0, STANDARD.encode(bytes))
    }
}

/// The first bytes of SHA-256 over name, line feed, algorithm and key.
fn key_id(name: &KeyName, algorithm: u8, public: &[u8; 32]) -> [u8; 4] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [name.0.as_bytes(), b"\n", &[algorithm], public] {
        context.update(part);
    }
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

fn parse_key(text: &str, algorithm: u8) -> Result<(KeyName, [u8; 32]), NoteError> {
    let bad = || NoteError::Key(crate::id::quote(text));
    let mut parts = text.trim().splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad());
    };
    let bytes = STANDARD.decode(key).map_err(|_| bad())?;
    let (first, public) = bytes.split_first().ok_or_else(bad)?;
    let public = <[u8; 32]>::try_from(public).map_err(|_| bad())?;
    let name = KeyName::parse(name)?;
    // Why compared: a name or a key that was mistyped is found here and not as "unsigned".
    let own = crate::secret::hex(&key_id(&name, algorithm, &public)) == id;
    // Why: anyone can sign for a key of small order.
    if is_weak_ed25519(&public) {
        return Err(bad());
    }
    if *first == algorithm && own { Ok((name, public)) } else { Err(bad()) }
}

impl Note {
    /// Adds the cosignature of a witness, as the witness sent it: lines of signatures, of which those
    /// of others are left out.
    ///
    /// # Errors
    /// When there is none by this witness over this text.
    pub fn cosigned(mut self, lines: &str, key: &WitnessKey) -> Result<Self, NoteError> {
        if lines.len() > NOTE_BYTES {
            return Err(NoteError::Shape("it is too long"));
        }
        let name = || key.name.0.clone();
        let id = key_id(&key.name, COSIGNATURE, &key.public);
        let own = |one: &Signature| one.name == key.name && one.key_id == id;
        let (mut found, mut good) = (false, None);
        for read in lines.lines().take(SIGNATURES.saturating_mul(2)) {
            let read = line(read)?;
            found = found || own(&read);
            if own(&read) && key.time_of(&self.text, &read.bytes).is_some() {
                good = Some(read);
            }
        }
        let unsigned = if found { NoteError::Forged(name()) } else { NoteError::Unsigned(name()) };
        let good = good.ok_or(unsigned)?;
        // Why one only: whatever else the witness sent is nothing that a reader of the note could use.
        self.signatures.retain(|one| !own(one));
        if self.signatures.len() >= SIGNATURES {
            return Err(NoteError::Shape("it has too many signatures"));
        }
        self.signatures.push(good);
        Ok(self)
    }

    /// When a witness saw it, in seconds since 1970.
    ///
    /// # Errors
    /// When it has no cosignature by this witness, or one of another text.
    pub fn time_by(&self, key: &WitnessKey) -> Result<u64, NoteError> {
        let name = || key.name.0.clone();
        let id = key_id(&key.name, COSIGNATURE, &key.public);
        let own = |one: &&Signature| one.name == key.name && one.key_id == id;
        let signature =
            self.signatures.iter().find(own).ok_or_else(|| NoteError::Unsigned(name()))?;
        key.time_of(&self.text, &signature.bytes).ok_or_else(|| NoteError::Forged(name()))
    }

    /// Signs a text. The text ends with a line feed; `sign` gives the 64 bytes of an Ed25519
    /// signature by the private half of `key`.
    #[must_use]
    pub fn sign(text: String, key: &VerifierKey, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Self {
        let bytes = sign(text.as_bytes());
        let signature = Signature { name: key.name.clone(), key_id: key.id(), bytes };
        Self { text, signatures: vec![signature] }
    }

    /// Reads a note, strictly.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES {
            return Err(NoteError::Shape("it is too long"));
        }
        if note.contains(|c: char| c.is_control() && c != '\n') {
            return Err(NoteError::Shape("it holds control characters"));
        }
        let at = note.rfind("\n\n").ok_or(NoteError::Shape("no empty line before signatures"))?;
        let (text, lines) = note.split_at(at.saturating_add(1));
        let lines = lines
            .strip_prefix('\n')
            .and_then(|lines| lines.strip_suffix('\n'))
            .ok_or(NoteError::Shape("it does not end with a line of a signature"))?;
        let signatures: Vec<Signature> = lines.split('\n').map(line).collect::<Result<_, _>>()?;
        if signatures.len() > SIGNATURES {
            return Err(NoteError::Shape("it has too many signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text, if a key signed it. Signatures of other keys say nothing.
    ///
    /// # Errors
    /// When the key did not sign it, or its signature is of another text.
    pub fn text_signed_by(&self, key: &VerifierKey) -> Result<&str, NoteError> {
        let name = || key.name.0.clone();
        let own =
            |signature: &&Signature| signature.name == key.name && signature.key_id == key.id();
        let signature =
            self.signatures.iter().find(own).ok_or_else(|| NoteError::Unsigned(name()))?;
        if key.verifies(&self.text, &signature.bytes) {
            Ok(&self.text)
        } else {
            Err(NoteError::Forged(name()))
        }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let bytes = [&signature.key_id, signature.bytes.as_slice()].concat();
            writeln!(f, "{SIGNED}{} {}", signature.name.0, STANDARD.encode(bytes))?;
        }
        Ok(())
    }
}

fn line(line: &str) -> Result<Signature, NoteError> {
    let shape = NoteError::Shape("a line of a signature is not `— NAME BASE64`");
    let rest = line.strip_prefix(SIGNED).ok_or_else(|| shape.clone())?;
    let (name, text) = rest.split_once(' ').ok_or_else(|| shape.clone())?;
    let bytes = STANDARD.decode(text).map_err(|_| shape.clone())?;
    let (key_id, bytes) = bytes.split_first_chunk::<4>().ok_or(shape)?;
    Ok(Signature { name: KeyName::parse(name)?, key_id: *key_id, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn pair(seed: u8) -> (Ed25519KeyPair, VerifierKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        (pair, VerifierKey::new(KeyName::parse("log.acme.dev").unwrap(), public))
    }

    #[test]
    fn a_note_is_believed_only_with_the_key_that_signed_it_and_unchanged() {
        let (private, key) = pair(1);
        let note = Note::sign("hello\n".into(), &key, |text| private.sign(text).as_ref().to_vec());
        let text = note.to_string();
        let read = Note::parse(&text).unwrap();
        assert_eq!(read, note);
        assert_eq!(read.text_signed_by(&key), Ok("hello\n"));
        let (_, other) = pair(2);
        assert_eq!(read.text_signed_by(&other), Err(NoteError::Unsigned("log.acme.dev".into())));
        let forged = Note::parse(&text.replace("hello", "hullo")).unwrap();
        assert_eq!(forged.text_signed_by(&key), Err(NoteError::Forged("log.acme.dev".into())));
        for odd in [
            "",
            "hello\n",
            "\n\n",
            "a\n\nb\n",
            "a\n\n\u{2014} x\n",
            "a\n\n\u{2014} x !!\n",
            &text[..text.len() - 1],
            &format!("{text}\r\n"),
        ] {
            assert!(Note::parse(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_verifier_key_is_read_as_it_was_written_and_mistyped_ones_are_refused() {
        let (_, key) = pair(1);
        let text = key.to_string();
        assert_eq!(VerifierKey::parse(&text), Ok(key));
        assert!(VerifierKey::parse(&text.replace("log.acme", "log.acne")).is_err());
        assert!(VerifierKey::parse("log.acme.dev+00000000+AAAA").is_err());
        assert!(VerifierKey::parse("").is_err());
    }
}

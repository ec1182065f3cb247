//! What is wrong with a policy folder, in words for whoever edits it.

use std::fmt;

use cedar_policy::ffi::DetailedError;

/// One thing to fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyProblem {
    /// The file, by its name in the folder; empty if it is about the folder itself.
    pub file: String,
    /// The line, counted from 1, where one is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub hint: String,
}

/// Written as compilers do, so that editors find the place.
impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", _) => {}
            (file, None) => write!(f, "{file}: ")?,
            (file, Some(line)) => write!(f, "{file}:{line}: ")?,
        }
        f.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

impl PolicyProblem {
    /// A problem of a whole file.
    pub(super) fn of_file(file: &str, message: impl Into<String>, hint: &str) -> Self {
        Self { file: file.into(), line: None, message: message.into(), hint: hint.into() }
    }

    /// A problem at a byte of a text.
    pub(super) fn at(source: &Source, byte: usize, message: impl Into<String>, hint: &str) -> Self {
        let line = Some(source.line(byte));
        Self { file: source.name.clone(), line, message: message.into(), hint: hint.into() }
    }

    /// What Cedar says about a text.
    pub(super) fn from_cedar(source: &Source, error: DetailedError) -> Self {
        let byte = error.source_locations.first().map(|label| label.loc.start);
        Self {
            file: source.name.clone(),
            line: byte.map(|byte| source.line(byte)),
            message: error.message,
            hint: error.help.unwrap_or_default(),
        }
    }
}

/// A file and what it holds.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name in the folder.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// The line of a byte, counted from 1.
    #[must_use]
    pub fn line(&self, byte: usize) -> usize {
        self.text.bytes().take(byte).filter(|b| *b == b'\n').count() + 1
    }
}

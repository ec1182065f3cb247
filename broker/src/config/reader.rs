//! Reads TOML and collects every problem with its line, instead of stopping at the first.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

/// Something wrong in a file, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, from 1; 0 for the whole file.
    pub line: usize,
    /// What is wrong, and what to write.
    pub words: String,
}

/// The problems of one file.
pub(super) struct Problems<'a> {
    text: &'a str,
    found: RefCell<Vec<Problem>>,
}

/// A table that is being read. What nobody asked for is a problem in the end.
pub(super) struct Section<'a> {
    name: String,
    table: Option<&'a DeTable<'a>>,
    at: usize,
    problems: &'a Problems<'a>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Problems<'a> {
    pub fn of(text: &'a str) -> Self {
        Self { text, found: RefCell::default() }
    }

    pub fn add(&self, at: usize, words: String) {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        self.found.borrow_mut().push(Problem { line, words });
    }

    pub fn add_error(&self, error: &toml::de::Error) {
        let at = error.span().map_or(0, |span: Range<usize>| span.start);
        self.add(at, error.message().to_owned());
    }

    /// In the order of the lines.
    pub fn take(&self) -> Vec<Problem> {
        let mut found = std::mem::take(&mut *self.found.borrow_mut());
        found.sort();
        found.dedup();
        found
    }
}

impl<'a> Section<'a> {
    pub fn root(table: &'a DeTable<'a>, problems: &'a Problems<'a>) -> Self {
        Self { name: String::new(), table: Some(table), at: 0, problems, asked: RefCell::default() }
    }

    /// A table within this one. A missing one is empty, so that each missing key is named.
    pub fn section(&self, key: &'static str) -> Section<'a> {
        let name = self.path(key);
        match self.value(key) {
            Some((_, DeValue::Table(table), at)) => self.child(name, Some(table), at),
            Some((_, _, at)) => {
                self.problems.add(at, format!("`{name}` must be a table; write `[{name}]`"));
                self.child(name, None, at)
            }
            None => self.child(name, None, self.at),
        }
    }

    /// Whether a table or value stands here.
    pub fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// The tables of `[[key]]`, of which there are at most so many.
    pub fn sections(&self, key: &'static str, most: usize) -> Vec<Section<'a>> {
        let name = self.path(key);
        let Some((_, value, at)) = self.value(key) else {
            return vec![];
        };
        let DeValue::Array(items) = value else {
            self.problems.add(at, format!("`{name}` must be tables; write `[[{name}]]`"));
            return vec![];
        };
        if items.len() > most {
            self.problems.add(at, format!("`{name}` stands more than {most} times"));
        }
        let mut found = Vec::new();
        for item in items.iter().take(most) {
            if let DeValue::Table(table) = item.get_ref() {
                found.push(self.child(name.clone(), Some(table), item.span().start));
            } else {
                let words = format!("`{name}` must be tables; write `[[{name}]]`");
                self.problems.add(item.span().start, words);
            }
        }
        found
    }

    /// Reads a value with a parser of texts.
    pub fn parse<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (text, at) = self.text(key)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.add(at, format!("`{}`: {error}", self.path(key)));
                None
            }
        }
    }

    pub fn string(&self, key: &'static str) -> Option<String> {
        self.text(key).map(|(text, _)| text.to_owned())
    }

    /// A path; a relative one is meant from the folder of the configuration file.
    pub fn file(&self, key: &'static str, folder: &Path) -> Option<PathBuf> {
        self.text(key).map(|(text, _)| folder.join(text))
    }

    pub fn strings(&self, key: &'static str) -> Vec<(String, usize)> {
        let Some((_, value, at)) = self.value(key) else {
            return vec![];
        };
        let wrong = |at| {
            self.problems
                .add(at, format!("`{}` must be a list of texts; write [\"…\"]", self.path(key)))
        };
        let DeValue::Array(items) = value else {
            wrong(at);
            return vec![];
        };
        let mut found = Vec::new();
        for item in items.iter() {
            if let DeValue::String(text) = item.get_ref() {
                found.push((text.to_string(), item.span().start));
            } else {
                wrong(item.span().start);
            }
        }
        found
    }

    /// A list of which each item is parsed.
    pub fn parse_all<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for (text, at) in self.strings(key) {
            match parse(&text) {
                Ok(value) => found.push(value),
                Err(error) => self.problems.add(at, format!("`{}`: {error}", self.path(key))),
            }
        }
        found
    }

    pub fn number(&self, key: &'static str) -> Option<u64> {
        let (_, value, at) = self.value(key)?;
        let number = if let DeValue::Integer(number) = value {
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        } else {
            None
        };
        if number.is_none() {
            self.problems
                .add(at, format!("`{}` must be a whole number, at least 0", self.path(key)));
        }
        number
    }

    pub fn switch(&self, key: &'static str) -> Option<bool> {
        let (_, value, at) = self.value(key)?;
        if let DeValue::Boolean(on) = value {
            return Some(*on);
        }
        self.problems.add(at, format!("`{}` must be true or false", self.path(key)));
        None
    }

    /// Texts by key: a table of which all values are texts.
    pub fn texts(&self) -> Vec<(String, String, usize)> {
        let Some(table) = self.table else {
            return vec![];
        };
        let mut found = Vec::new();
        for (key, value) in table.iter() {
            let (key, at) = (key.get_ref(), value.span().start);
            if let DeValue::String(text) = value.get_ref() {
                found.push((key.to_string(), text.to_string(), at));
            } else {
                self.problems.add(at, format!("`{}.{key}` must be a text", self.name));
            }
        }
        found
    }

    /// Says that a key is missing, if it is.
    pub fn require<T>(&self, key: &'static str, value: Option<T>, hint: &str) -> Option<T> {
        if value.is_none() && self.value(key).is_none() {
            self.problems.add(self.at, format!("`{}` is missing; {hint}", self.path(key)));
        }
        value
    }

    /// Adds a problem at a key.
    pub fn wrong(&self, key: &'static str, words: &str) {
        let at = self.value(key).map_or(self.at, |(_, _, at)| at);
        self.problems.add(at, format!("`{}`: {words}", self.path(key)));
    }

    /// Names the keys that nobody knows. Call last.
    pub fn finish(&self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.borrow();
        for (key, _) in table.iter() {
            if !asked.contains(key.get_ref().as_ref()) {
                let known: Vec<&str> = asked.iter().copied().collect();
                self.problems.add(
                    key.span().start,
                    format!(
                        "`{}` is unknown; known here are {}",
                        self.path(key.get_ref()),
                        known.join(", ")
                    ),
                );
            }
        }
    }

    fn child(&self, name: String, table: Option<&'a DeTable<'a>>, at: usize) -> Section<'a> {
        Section { name, table, at, problems: self.problems, asked: RefCell::default() }
    }

    fn text(&self, key: &'static str) -> Option<(&'a str, usize)> {
        let (_, value, at) = self.value(key)?;
        if let DeValue::String(text) = value {
            return Some((text.as_ref(), at));
        }
        self.problems.add(at, format!("`{}` must be a text in quotes", self.path(key)));
        None
    }

    fn value(&self, key: &'static str) -> Option<(&'a str, &'a DeValue<'a>, usize)> {
        self.asked.borrow_mut().insert(key);
        let (name, value) = self.table?.get_key_value(key)?;
        Some((name.get_ref().as_ref(), value.get_ref(), value.span().start))
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

//! Quoting for a POSIX shell.

/// Quotes one word so that a shell reads just this word, whatever is in it.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,@".contains(&byte);
    // Why not plain `-`, `~` and the like: only words that no shell expands stay bare.
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Quotes words and joins them to a command.
#[must_use]
pub fn join<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_stay_as_they_are_and_others_are_quoted() {
        assert_eq!(quote("https://git.test:80/x"), "https://git.test:80/x");
        assert_eq!(quote("agent/*"), "'agent/*'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(join(["git", "a b"]), "git 'a b'");
    }

    #[test]
    fn a_real_shell_reads_back_every_nasty_word() {
        for word in [
            "$(id)", "`id`", "a;b", "a\nb", "'", "''", "\\", "\"", "!x", "~", "*", "a&b", "$HOME",
            "#", "-n", "é",
        ] {
            let script = format!("printf %s {}", join(["x", word]));
            // `printf %s` repeats its format for each word.
            let out = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), format!("x{word}"), "{word:?}");
        }
    }
}

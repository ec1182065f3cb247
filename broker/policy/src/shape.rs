//! Refuses texts that nest too deeply, before Cedar's parser, which recurses, sees them.
//!
//! Why: a file of 2,000 opening brackets would end the process, and with it the set that holds now.

use super::{
    limits::{JOINED, NESTED},
    problem::{PolicyProblem, Source},
};

/// Looks at brackets and at what makes expressions long; knows strings and comments, nothing else.
pub(super) fn check(source: &Source) -> Result<(), PolicyProblem> {
    let mut bytes = source.text.bytes().enumerate().peekable();
    let (mut open, mut joined) = (0_usize, 0_usize);
    let mut word = String::new();
    while let Some((place, byte)) = bytes.next() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            word.push(char::from(byte));
            continue;
        }
        if std::mem::take(&mut word) == "if" {
            joined += 1;
        }
        match byte {
            b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                while bytes.next().is_some_and(|(_, byte)| !matches!(byte, b'\n' | b'\r')) {}
            }
            b'"' => loop {
                match bytes.next() {
                    Some((_, b'\\')) => drop(bytes.next()),
                    None | Some((_, b'"')) => break,
                    Some(_) => {}
                }
            },
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'&' | b'|' if bytes.next_if(|(_, next)| *next == byte).is_some() => joined += 1,
            b'+' | b'-' | b'*' | b'.' | b'!' => joined += 1,
            b';' => joined = 0,
            _ => {}
        }
        if open > NESTED {
            let message = format!("more than {NESTED} brackets are open here");
            return Err(PolicyProblem::at(source, place, message, "close or remove some"));
        }
        if joined > JOINED {
            let message = format!(
                "the policy joins more than {JOINED} parts by `&&`, `||`, `.` and the like"
            );
            return Err(PolicyProblem::at(
                source,
                place,
                message,
                "divide it, or use groups and labels",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(text: &str) -> bool {
        check(&Source { name: "a.cedar".into(), text: text.into() }).is_ok()
    }

    #[test]
    fn depth_is_counted_outside_strings_and_comments_only() {
        let many = "(".repeat(NESTED + 1);
        assert!(!passes(&many));
        assert!(!passes(&format!("\"\\\\\"{many}")));
        assert!(!passes(&format!("// \"\r{many}")));
        assert!(!passes(&format!("// \"\n{many}")));
        assert!(passes(&format!("\"\\\"{many}\"")));
        assert!(passes(&format!("// {many}")));
        assert!(passes(&"()".repeat(NESTED + 1)));
    }

    #[test]
    fn length_is_counted_by_the_policy() {
        for part in ["a && ", "a || ", "a.", "1 + ", "if a then ", "!"] {
            assert!(!passes(&part.repeat(JOINED + 1)), "{part}");
            assert!(passes(&format!("{};{0}", part.repeat(JOINED))), "{part}");
        }
    }
}

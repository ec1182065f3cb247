//! Names of files as careless file systems see them.
//!
//! NTFS, APFS and HFS+ take names for one another that git keeps apart. A rule about `.github` must not be
//! evaded by a name that becomes `.github` on somebody's checkout, so a path is decided in its own spelling and
//! in the folded one; and a name that stands for another that cannot be told from it is refused.

use unicode_normalization::UnicodeNormalization;

/// Digits and base of a short name, in characters: eight in all, with the `~`.
const SHORT: usize = 8;
/// Characters of the ending of a short name.
const ENDING: usize = 3;

/// A path as the most careless file system sees it. Each segment is in one case and one form (NFKC), without
/// letters that are not shown, without a stream (`:…`), and without dots or blanks at its end.
#[must_use]
pub fn folded(path: &str) -> String {
    match path {
        "." | ".." => path.to_owned(),
        path => path.split('/').map(segment).collect::<Vec<_>>().join("/"),
    }
}

fn segment(segment: &str) -> String {
    // Why upper case first: `ſ` and `ı` have no other lower case, and NTFS compares upper cases.
    let shown = segment.chars().filter(|letter| !is_unseen(*letter));
    let upper: String = shown.nfkc().flat_map(char::to_uppercase).collect();
    // Why again: what is not shown may come of the rest.
    let plain: String = upper.to_lowercase().nfkc().filter(|letter| !is_unseen(*letter)).collect();
    // Spec: MS-FSCC §2.1.5: `NAME:STREAM:TYPE`; `.github::$INDEX_ALLOCATION` is the folder itself.
    let name = plain.split(':').next().unwrap_or_default();
    name.trim_end_matches(|letter: char| letter == '.' || letter.is_whitespace()).to_owned()
}

/// Spec: what HFS+ ignores (Apple TN1150), with other letters that are not shown: those that Unicode says can be
/// ignored, and variations of the letter before.
fn is_unseen(letter: char) -> bool {
    matches!(
        u32::from(letter),
        0xad | 0x34f
            | 0x61c
            | 0x115f..=0x1160
            | 0x17b4..=0x17b5
            | 0x180b..=0x180f
            | 0x200b..=0x200f
            | 0x202a..=0x202e
            | 0x2060..=0x206f
            | 0x3164
            | 0xfe00..=0xfe0f
            | 0xfeff
            | 0xffa0
            | 0xfff9..=0xfffb
            | 0x1bca0..=0x1bca3
            | 0x1d173..=0x1d17a
            | 0xe0000..=0xe0fff
    )
}

/// Whether a folded name may be the short one that Windows gives a longer name (`GITHUB~1` for `.github`). Which
/// that is depends on the folder, and nobody knows it here.
pub(crate) fn is_short(name: &str) -> bool {
    let (base, ending) = name.split_once('.').unwrap_or((name, ""));
    let Some((front, number)) = base.rsplit_once('~') else { return false };
    let number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number && !front.is_empty() && base.chars().count() <= SHORT && ending.chars().count() <= ENDING
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_a_checkout_may_take_for_one_are_one() {
        for (path, plain) in [
            (".GitHub/Workflows/x", ".github/workflows/x"),
            (".github/work\u{200b}flows./x", ".github/workflows/x"),
            (".github/workflow\u{17f}/x", ".github/workflows/x"),
            (".GITHUB\u{a0}/workflows/x", ".github/workflows/x"),
            (".github . ./workflows /x", ".github/workflows/x"),
            (".github::$INDEX_ALLOCATION/workflows/x", ".github/workflows/x"),
            (".github/workflows:$I30:$INDEX_ALLOCATION/x", ".github/workflows/x"),
            (".github/workflows/x.yml::$DATA", ".github/workflows/x.yml"),
            (".g\u{131}thub/wor\u{212a}flows/x", ".github/workflows/x"),
            ("\u{ff0e}github/\u{ff37}orkflows/x", ".github/workflows/x"),
            (".github/work\u{fb02}ows/x", ".github/workflows/x"),
            (".gith\u{fe0f}ub/w\u{34f}orkflows/x", ".github/workflows/x"),
            (".github/work\u{e0041}flows/x", ".github/workflows/x"),
            ("cafe\u{301}/x", "caf\u{e9}/x"),
            ("STRASSE", "strasse"),
            ("stra\u{df}e", "strasse"),
            ("docs/\u{65e5}\u{672c}\u{8a9e}.md", "docs/\u{65e5}\u{672c}\u{8a9e}.md"),
            ("a b/c.d", "a b/c.d"),
        ] {
            assert_eq!(folded(path), plain, "{path}");
        }
    }

    #[test]
    fn a_short_name_is_told_from_others() {
        for name in ["github~1", "git~2", "gi4f3a~1", "workfl~1.yml", "a~12345", "x~1.y"] {
            assert!(is_short(name), "{name}");
        }
        for name in [
            "github",
            "~1",
            "file.c.~1~",
            "github~",
            "github~x",
            "longname~1",
            "a~1.html",
            "~lock.a",
            "a.b~1.c",
        ] {
            assert!(!is_short(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_folded_stays_as_it_is(path in "\\PC{0,12}(/\\PC{0,12}){0,2}") {
            let once = folded(&path);
            prop_assert_eq!(folded(&once), once);
        }
    }
}

//! Where the reviewers are that the catalogue names.

use std::{path::Path, time::Duration};

use jeton_domain::review::ReviewerName;

use super::{outside_url, reader::Section};
use crate::{
    limits::{REVIEW_SECONDS, REVIEW_SECONDS_MOST},
    reviewer::ReviewerConfig,
};

pub(super) fn read(sections: &[Section<'_>], folder: &Path) -> Vec<ReviewerConfig> {
    let mut found: Vec<ReviewerConfig> = Vec::new();
    for section in sections {
        let Some(reviewer) = reviewer(section, folder) else { continue };
        if found.iter().any(|other| other.name == reviewer.name) {
            section.wrong("name", "another reviewer has this name; names tell them apart");
        }
        found.push(reviewer);
    }
    found
}

fn reviewer(section: &Section<'_>, folder: &Path) -> Option<ReviewerConfig> {
    let name = section.parse("name", ReviewerName::parse);
    let name = section.require("name", name, "write what the catalogue calls it");
    let url = section.parse("url", outside_url);
    let url = section.require("url", url, "write where it takes questions");
    let key = section.file("key", folder);
    let key = section.require(
        "key",
        key,
        "name a file with `whsec_` and 24 to 64 bytes in base64, mode 0600: by it each side knows that the other one wrote",
    );
    let ca = section.file("ca", folder);
    let seconds = section.number("timeout").unwrap_or(REVIEW_SECONDS);
    if !(1..=REVIEW_SECONDS_MOST).contains(&seconds) {
        section.wrong(
            "timeout",
            "1 to 30 seconds are allowed; whoever is silent so long leaves it to people",
        );
    }
    section.finish();
    let timeout = Duration::from_secs(seconds);
    Some(ReviewerConfig { name: name?, url: url?, key: key?, ca, timeout })
}

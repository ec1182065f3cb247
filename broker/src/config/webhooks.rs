//! Who is told of requests that wait for people, and who is asked before them.

use std::path::Path;

use jeton_domain::approval::GroupName;

use super::{outside_url, reader::Section, reviewers};
use crate::{
    limits::SIGNAL_PARTNERS,
    reviewer::ReviewerConfig,
    webhook::{Style, WebhookConfig},
};

/// What happens with requests that wait for people.
pub struct ApprovalConfig {
    /// Who is told.
    pub webhooks: Vec<WebhookConfig>,
    /// Who is asked before people.
    pub reviewers: Vec<ReviewerConfig>,
}

pub(super) fn read(section: &Section<'_>, folder: &Path) -> ApprovalConfig {
    let webhooks = section.sections("webhook", SIGNAL_PARTNERS);
    let reviewers = section.sections("reviewer", SIGNAL_PARTNERS);
    section.finish();
    ApprovalConfig {
        webhooks: webhooks.iter().filter_map(|section| webhook(section, folder)).collect(),
        reviewers: reviewers::read(&reviewers, folder),
    }
}

fn webhook(section: &Section<'_>, folder: &Path) -> Option<WebhookConfig> {
    let url = section.parse("url", outside_url);
    let url = section.require("url", url, "write where requests that wait are told");
    let style = section.parse("style", |word| {
        Style::parse(word).ok_or_else(|| format!("`{word}` is not json, slack or teams"))
    });
    let style = style.unwrap_or(Style::Json);
    let key = section.file("key", folder);
    if style == Style::Json && key.is_none() {
        section.wrong(
            "key",
            "there is none; name a file with `whsec_` and 24 to 64 bytes in base64, mode 0600: whoever takes the webhook checks by it that it comes from here",
        );
    }
    let groups = section.strings("groups");
    let link = section.string("link");
    if link.as_ref().is_some_and(|link| !link.starts_with("https://") || !link.contains("{grant}"))
    {
        section.wrong("link", "write an https address with `{grant}` in it");
    }
    let ca = section.file("ca", folder);
    section.finish();
    let groups = groups.iter().map(|(name, _)| GroupName::new(name)).collect();
    Some(WebhookConfig { url: url?, style, key, groups, link, ca })
}

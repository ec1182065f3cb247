//! Who is told of what the broker takes back, and whose word ends sessions.

use std::{collections::BTreeSet, path::Path};

use jeton_domain::{principal::PrincipalId, signal::Kind};

use super::{
    identity::{algorithms, keys, mappings},
    outside_url,
    reader::Section,
};
use crate::{identity::oidc::TransmitterConfig, limits::SIGNAL_PARTNERS, receiver::ReceiverConfig};

/// The other ends of shared signals.
pub struct SsfConfig {
    /// Who is told.
    pub receivers: Vec<ReceiverConfig>,
    /// Who is believed.
    pub transmitters: Vec<TransmitterConfig>,
}

pub(super) fn read(section: &Section<'_>, folder: &Path) -> SsfConfig {
    let receivers = section.sections("receiver", SIGNAL_PARTNERS);
    let transmitters = section.sections("transmitter", SIGNAL_PARTNERS);
    section.finish();
    SsfConfig {
        receivers: receivers.iter().filter_map(|section| receiver(section, folder)).collect(),
        transmitters: transmitters
            .iter()
            .filter_map(|section| transmitter(section, folder))
            .collect(),
    }
}

fn receiver(section: &Section<'_>, folder: &Path) -> Option<ReceiverConfig> {
    let url = section.parse("url", outside_url);
    let url = section.require("url", url, "write where the receiver takes event tokens");
    let audience = section.string("audience");
    let audience =
        section.require("audience", audience, "write what the receiver expects as `aud`");
    let kinds = section.parse_all("events", |word| {
        let mut sent = Kind::SENT.into_iter();
        sent.find(|kind| kind.word() == word).ok_or_else(|| {
            let known: Vec<_> = Kind::SENT.iter().map(|kind| kind.word()).collect();
            format!("`{word}` is not one of {}", known.join(", "))
        })
    });
    let token = section.file("token", folder);
    let ca = section.file("ca", folder);
    section.finish();
    let mut kinds: BTreeSet<Kind> = kinds.into_iter().collect();
    if kinds.is_empty() {
        kinds.extend(Kind::SENT);
    }
    // Why: it is always told whether the stream works.
    kinds.insert(Kind::Verification);
    Some(ReceiverConfig { url: url?, audience: audience?, kinds, token, ca })
}

fn transmitter(section: &Section<'_>, folder: &Path) -> Option<TransmitterConfig> {
    let issuer = section.parse("issuer", PrincipalId::parse);
    let issuer = section.require("issuer", issuer, "write the exact `iss` of its event tokens");
    let audience = section.string("audience");
    let audience =
        section.require("audience", audience, "write the exact `aud` of tokens for this broker");
    let algorithms = algorithms(section);
    let keys = keys(section, folder);
    let subjects = mappings(
        section,
        "there is none; add `[[ssf.transmitter.map]]` with `principal`, `kind` and `[ssf.transmitter.map.claims]`",
    );
    section.finish();
    Some(TransmitterConfig {
        issuer: issuer?,
        audience: audience?,
        algorithms,
        keys: keys?,
        subjects,
    })
}

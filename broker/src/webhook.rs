//! Tells people, where they are, of requests that wait for them: as JSON signed by the Standard Webhooks
//! specification, or as a message that Slack or Teams shows.
//!
//! Says who asks for what, and never what the agent writes about it.

use std::{collections::BTreeSet, path::PathBuf};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use jeton_domain::{
    approval::{Breadth, GroupName},
    audit::{Entry, Event, Subject},
    grant::Grant,
    id::GrantId,
    secret::{Secret, sha256},
    ttl::Timestamp,
};
use reqwest::{Url, header::CONTENT_TYPE};
use ring::hmac;
use serde_json::{Value, json};

use crate::{
    operation::{
        Broker, Refusal,
        transmit::{Listener, TellError},
    },
    outlet::{Outlet, OutletError},
};

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For programs: signed JSON.
    Json,
    /// For Slack, and what takes its messages.
    Slack,
    /// For Teams: an adaptive card.
    Teams,
}

impl Style {
    /// Reads the word for it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "json" => Some(Self::Json),
            "slack" => Some(Self::Slack),
            "teams" => Some(Self::Teams),
            _ => None,
        }
    }
}

/// Where messages go.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Where they are taken.
    pub url: Url,
    /// How they are written.
    pub style: Style,
    /// The file with the key that signs them.
    pub key: Option<PathBuf>,
    /// Only what these groups are asked; all if there is none.
    pub groups: BTreeSet<GroupName>,
    /// Where a person answers, with `{grant}` in it.
    pub link: Option<String>,
    /// The CA of its certificate.
    pub ca: Option<PathBuf>,
}

/// A webhook that can be called.
pub struct Webhook {
    config: WebhookConfig,
    key: Option<hmac::Key>,
    outlet: Outlet,
}

/// Why a webhook can't be called.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The way to it.
    #[error(transparent)]
    Outlet(#[from] OutletError),
    /// Its key is none.
    #[error(
        "the key of the webhook `{0}` is not `whsec_` with 24 to 64 bytes in base64 behind it; `echo whsec_$(openssl rand -base64 32)` makes one"
    )]
    Key(Url),
}

/// What happened to a request that waits.
struct News {
    kind: &'static str,
    of: Subject,
    groups: Vec<GroupName>,
    words: String,
    more: Value,
    /// Whether everybody hears of it, whatever groups they listen for.
    loud: bool,
}

impl Webhook {
    /// Sets calls up.
    ///
    /// # Errors
    /// When the key is none, or a file is not usable.
    pub fn new(config: WebhookConfig, key: Option<Secret>) -> Result<Self, WebhookError> {
        let outlet = Outlet::new(config.url.clone(), config.ca.as_deref())?;
        let key = match key {
            None => None,
            Some(text) => {
                let wrong = || WebhookError::Key(config.url.clone());
                let text = text.expose().trim().strip_prefix("whsec_").ok_or_else(wrong)?;
                let bytes = STANDARD.decode(text).map_err(|_| wrong())?;
                if !(24..=64).contains(&bytes.len()) {
                    return Err(wrong());
                }
                Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
            }
        };
        Ok(Self { config, key, outlet })
    }

    /// The words of the message, with where to answer.
    fn body(&self, news: &News, id: &str, at: Timestamp) -> Value {
        let link = self.link(news.of.grant);
        match self.config.style {
            Style::Json => {
                let of = &news.of;
                let groups: Vec<_> = news.groups.iter().map(GroupName::as_str).collect();
                json!({
                    "id": id,
                    "type": news.kind,
                    "timestamp": time(at),
                    "data": {
                        "grant": of.grant, "session": of.session, "agent": of.agent,
                        "person": of.person, "scope": of.scope.to_string(), "groups": groups,
                        "summary": news.words, "link": link, "more": news.more,
                    },
                })
            }
            Style::Slack => {
                // Spec: Slack's mrkdwn: these three are written as entities.
                let words =
                    news.words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                let link = link.map_or_else(String::new, |link| format!("\n<{link}|Answer>"));
                json!({ "text": format!("{words}{link}") })
            }
            Style::Teams => {
                let actions: Vec<_> = link
                    .iter()
                    .map(|link| json!({ "type": "Action.OpenUrl", "title": "Answer", "url": link }))
                    .collect();
                json!({
                    "type": "message",
                    "attachments": [{
                        "contentType": "application/vnd.microsoft.card.adaptive",
                        "content": {
                            "type": "AdaptiveCard", "version": "1.4",
                            "body": [{ "type": "TextBlock", "text": news.words, "wrap": true }],
                            "actions": actions,
                        },
                    }],
                })
            }
        }
    }

    fn link(&self, grant: GrantId) -> Option<String> {
        self.config.link.as_ref().map(|link| link.replace("{grant}", &grant.to_string()))
    }

    /// Spec: Standard Webhooks: the HMAC is over id, time and body.
    fn signature(&self, id: &str, seconds: i64, body: &str) -> Option<String> {
        let key = self.key.as_ref()?;
        let tag = hmac::sign(key, format!("{id}.{seconds}.{body}").as_bytes());
        Some(format!("v1,{}", STANDARD.encode(tag)))
    }
}

#[async_trait]
impl Listener for Webhook {
    fn url(&self) -> &Url {
        self.outlet.url()
    }

    fn number(&self) -> u64 {
        let digest = sha256(format!("webhook {}", self.config.url).as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = digest;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// A message that nobody needs would wake people; the first one shows whether it works.
    async fn greet(&self, _: &Broker) -> Result<(), TellError> {
        Ok(())
    }

    async fn hear(&self, broker: &Broker, entry: &Entry, id: &str) -> Result<bool, TellError> {
        let Some(mut news) = news(&entry.event) else { return Ok(false) };
        if news.groups.is_empty() {
            news.groups = groups_of(broker, &news.of).await?;
        }
        let asked = &self.config.groups;
        if !news.loud && !asked.is_empty() && !news.groups.iter().any(|group| asked.contains(group))
        {
            return Ok(false);
        }
        let body = self.body(&news, id, entry.at).to_string();
        let seconds = broker.clock.now().seconds();
        let signature = self.signature(id, seconds, &body);
        self.outlet
            .post(|call| {
                let call = call
                    .header(CONTENT_TYPE, "application/json")
                    .header("webhook-id", id)
                    .header("webhook-timestamp", seconds);
                match signature {
                    Some(signature) => call.header("webhook-signature", signature),
                    None => call,
                }
                .body(body)
            })
            .await?;
        Ok(true)
    }
}

/// What an entry says about a request that waits, if it does.
fn news(event: &Event) -> Option<News> {
    match event {
        Event::Pending { about, guards, until } => {
            let of = Subject {
                grant: about.grant,
                session: about.session,
                agent: about.agent.clone(),
                person: about.person.clone(),
                chain: about.chain.clone(),
                scope: about.scope.clone(),
            };
            let held = guards.iter().map(|guard| {
                let (policy, reason) = (&guard.policy, guard.reason.as_str());
                format!("{policy}: {reason}")
            });
            let held: Vec<_> = held.collect();
            let until = time(*until);
            let words = format!("{} waits for you; {}", asked(&of), held.join("; "));
            let groups: BTreeSet<_> = guards.iter().flat_map(|guard| &guard.groups).collect();
            let groups = groups.into_iter().cloned().collect();
            let more = json!({ "until": until, "guards": guards });
            Some(News { kind: "approval.asked", of, groups, words, more, loud: false })
        }
        Event::Approved { of, by, groups, reaches, reason, .. } => {
            let reach = if *reaches == Breadth::Once { "once" } else { "for the session" };
            let words = format!("{by} approved {reach}: {}", asked(of));
            let more = json!({ "by": by, "reason": reason, "reaches": reaches });
            Some(News {
                kind: "approval.approved",
                groups: groups.clone(),
                ..plain(of, words, more)
            })
        }
        Event::GlassBroken { of, by, groups, reaches, reason, .. } => {
            let words = format!(
                "EMERGENCY: {by} lifted guards alone, and this has to be reviewed: {}; {}",
                asked(of),
                reason.as_str()
            );
            let more = json!({ "by": by, "reason": reason, "reaches": reaches });
            Some(News {
                kind: "glass.broken",
                groups: groups.clone(),
                loud: true,
                ..plain(of, words, more)
            })
        }
        Event::ApprovalWithdrawn { of, by, .. } => {
            let words = format!("{by} took the approval back: {}", asked(of));
            let more = json!({ "by": by });
            Some(News { kind: "approval.withdrawn", ..plain(of, words, more) })
        }
        Event::Rejected { of, by, reason } => {
            let words = format!("{by} rejected: {}", asked(of));
            let more = json!({ "by": by, "reason": reason });
            Some(News { kind: "approval.rejected", ..plain(of, words, more) })
        }
        Event::Lapsed { of } => {
            let words = format!("nobody answered: {}", asked(of));
            Some(News { kind: "approval.lapsed", ..plain(of, words, Value::Null) })
        }
        Event::Started { .. }
        | Event::PolicyLoaded { .. }
        | Event::CertificatesLoaded { .. }
        | Event::SignInFailed { .. }
        | Event::LogRead { .. }
        | Event::RestoreFound { .. }
        | Event::RestoreAcknowledged { .. }
        | Event::EntriesMoved { .. }
        | Event::KeyRotated { .. }
        | Event::SessionOpened { .. }
        | Event::SessionRefused { .. }
        | Event::SessionClosed { .. }
        | Event::Denied { .. }
        | Event::Intent { .. }
        | Event::Issued { .. }
        | Event::Renewed { .. }
        | Event::MintFailed { .. }
        | Event::Released { .. }
        | Event::Expired { .. }
        | Event::Revoked { .. }
        | Event::RevocationAsked { .. }
        | Event::UpstreamFailed { .. }
        | Event::UpstreamAnswered { .. }
        | Event::StopLifted { .. }
        | Event::ReDecided { .. }
        | Event::DriftFound { .. }
        | Event::Commented { .. }
        | Event::GlassReviewed { .. }
        | Event::PolicyRolledBack { .. } => None,
    }
}

fn plain(of: &Subject, words: String, more: Value) -> News {
    News { kind: "", of: of.clone(), groups: vec![], words, more, loud: false }
}

fn asked(of: &Subject) -> String {
    let whom = of.person.as_ref().map_or_else(String::new, |person| format!(" for {person}"));
    format!("{}{whom} asks for {}", of.agent, of.scope)
}

fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default().to_string()
}

/// The groups that a question was put to, by the policies that hold now.
async fn groups_of(broker: &Broker, of: &Subject) -> Result<Vec<GroupName>, Refusal> {
    let grant: Grant = broker.store.grant(of.grant).await?;
    let rules = broker.policies.current();
    let decided = &grant.decided_by.policies;
    let guards = rules.forbids().filter(|guard| decided.contains(&guard.policy));
    let groups: BTreeSet<_> = guards.flat_map(|guard| guard.groups.iter().cloned()).collect();
    Ok(groups.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_none_is_refused_and_never_shown() {
        let config = || WebhookConfig {
            url: Url::parse("https://hooks.acme.dev/x").unwrap(),
            style: Style::Json,
            key: None,
            groups: BTreeSet::new(),
            link: None,
            ca: None,
        };
        for text in
            ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%%", "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"]
        {
            let refused = Webhook::new(config(), Some(Secret::new(text.to_owned()))).err().unwrap();
            assert!(refused.to_string().contains("whsec_"), "{text}");
            assert!(!refused.to_string().contains("c2"), "{refused}");
        }
        let good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n".to_owned();
        let webhook = Webhook::new(config(), Some(Secret::new(good))).unwrap();
        // Spec: the example of the Standard Webhooks reference libraries.
        let signature = webhook.signature(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}

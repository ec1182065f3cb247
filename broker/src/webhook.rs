//! Tells people, where they are, of requests that wait for them: as JSON signed by the Standard Webhooks
//! specification, or as a message that Slack or Teams shows.
//!
//! Says who asks for what, and never what the agent writes about it.

use std::{collections::BTreeSet, path::PathBuf};

use async_trait::async_trait;
use jeton_domain::{
    approval::{Breadth, GroupName},
    audit::{Entry, Event, Subject},
    grant::Grant,
    id::GrantId,
    secret::{Secret, sha256},
    ttl::Timestamp,
};
use reqwest::{Url, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::{
    crypto::webhook_key::{WebhookKey, WebhookKeyError},
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
#[derive(Clone)]
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
    key: Option<WebhookKey>,
    outlet: Outlet,
}

/// Why a webhook can't be called.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The way to it.
    #[error(transparent)]
    Outlet(#[from] OutletError),
    /// Its key is none.
    #[error("the key of the webhook `{0}` {1}")]
    Key(String, WebhookKeyError),
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
        let key = key.map(|text| WebhookKey::parse(&text)).transpose();
        let key = key.map_err(|error| {
            WebhookError::Key(config.url.host_str().unwrap_or_default().into(), error)
        })?;
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
                // Why as plain text: a ref such as `*main*` would show as something else.
                let plain = json!({ "type": "plain_text", "text": words });
                let section = |text| json!({ "type": "section", "text": text });
                let link = link.map(|link| format!("<{link}|Answer>"));
                let link = link.map(|text| section(json!({ "type": "mrkdwn", "text": text })));
                let blocks: Vec<_> = [section(plain)].into_iter().chain(link).collect();
                json!({ "text": words, "blocks": blocks })
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
                            // Why runs: a text block reads its text as Markdown.
                            "body": [{
                                "type": "RichTextBlock",
                                "inlines": [{ "type": "TextRun", "text": news.words }],
                            }],
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
}

#[async_trait]
impl Listener for Webhook {
    fn url(&self) -> &Url {
        self.outlet.url()
    }

    fn number(&self) -> u64 {
        let groups: Vec<_> = self.config.groups.iter().map(GroupName::as_str).collect();
        let digest = sha256(format!("webhook {} {}", self.config.url, groups.join(",")).as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = digest;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// A message that nobody needs would wake people; the first one shows whether it works.
    async fn greet(&self, _: &Broker) -> Result<(), TellError> {
        Ok(())
    }

    async fn hear(&self, broker: &Broker, entry: &Entry, id: &str) -> Result<bool, TellError> {
        let Some(mut news) = news(&entry.event) else { return Ok(false) };
        // Why not: people would be called to what is over.
        if news.kind == "approval.asked" && !broker.store.is_pending(news.of.grant) {
            return Ok(false);
        }
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
        let signature = self.key.as_ref().map(|key| key.sign(id, seconds, body.as_bytes()));
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
        | Event::DenialsSummarized { .. }
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
        | Event::Pushed { .. }
        | Event::Used { .. }
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
        | Event::PolicyProposed { .. }
        | Event::PolicyRolledBack { .. }
        | Event::ReviewAsked { .. }
        | Event::ReviewAnswered { .. } => None,
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

//! `jeton approval`: people answer requests that wait for them.

mod emergency;

use std::time::Duration;

use clap::{Args, Subcommand};
use jeton_client::{ApprovalInfo, Approvals, Client, Reach, ScopeBound, now_millis};
use serde_json::json;

use super::{
    Global,
    exit::{self, Exit},
    failure::Failure,
    output::{Output, clean, code, list, table},
    span,
};

/// Time between two streams.
const AGAIN: Duration = Duration::from_secs(1);

/// What to do with requests that wait.
#[derive(Subcommand)]
pub enum Command {
    /// List the requests that wait.
    List,
    /// Tell one, with all that a yes would give.
    Show {
        /// The grant that waits.
        grant: String,
    },
    /// Say yes to a request, once or for its session.
    Approve(Approve),
    /// Say no, for good.
    Reject {
        /// The grant that waits.
        grant: String,
        /// Why; the agent reads it.
        #[arg(long)]
        reason: String,
    },
    /// Say something about a request, for the record.
    Comment {
        /// The grant that waits.
        grant: String,
        /// What.
        words: String,
    },
    /// Take your own yes back, or somebody's as an operator, as far as it is not used up.
    Withdraw {
        /// The grant that it answered.
        grant: String,
        /// Whose, if not your own: operators may.
        #[arg(long, value_name = "NAME")]
        of: Option<String>,
    },
    /// In an emergency: lift the guards of a request alone, if you are named for it. Others hear of it, and
    /// review it; until then there is no next one.
    BreakGlass(emergency::BreakGlass),
    /// List emergencies that nobody has reviewed yet.
    Unreviewed,
    /// Review an emergency that was not yours.
    Review(emergency::Review),
    /// Tell the requests that wait, again each time that they change.
    Watch,
}

/// A yes.
#[derive(Args)]
pub struct Approve {
    /// The grant that waits.
    grant: String,
    /// Why; some groups want it.
    #[arg(long, default_value = "")]
    reason: String,
    /// The hash that `show` told: refuse if it is another request by now.
    #[arg(long, value_name = "HASH")]
    hash: Option<String>,
    /// Also further requests of the session, as far as your group may give.
    #[arg(long)]
    for_session: bool,
    /// For the session: scopes that it reaches; without it, the asked one.
    #[arg(long, requires = "for_session", value_name = "SCOPE")]
    within: Option<String>,
    /// For the session: how many grants.
    #[arg(long, requires = "for_session", value_name = "N")]
    grants: Option<u32>,
    /// For the session: how long.
    #[arg(long, requires = "for_session", value_parser = span::parse, value_name = "SPAN")]
    ttl: Option<Duration>,
}

/// Does it.
///
/// # Errors
/// When the broker refuses or can't be reached.
pub async fn run(global: &Global, command: Command) -> Result<Exit, Failure> {
    let (client, output) = (global.connect().await?, global.output());
    match command {
        Command::List => {
            let found = client.list_approvals().await?;
            output.result(&found, || all(&found))?;
        }
        Command::Show { grant } => {
            let found = client.get_approval(&grant).await?;
            output.result(&found, || one(&found))?;
        }
        Command::Approve(approve) => {
            let found = yes(&client, approve).await?;
            output.result(&found, || given(&found))?;
        }
        Command::Reject { grant, reason } => {
            let grant = client.reject(&grant, &reason).await?;
            output.result(&grant, || format!("{} is rejected\n", code(&grant.id)))?;
        }
        Command::Comment { grant, words } => {
            client.comment(&grant, &words).await?;
            output.result(&json!({ "recorded": true }), || "recorded\n".to_owned())?;
        }
        Command::Withdraw { grant, of } => {
            client.withdraw_approval(&grant, of.as_deref()).await?;
            output.result(&json!({ "withdrawn": true }), || "withdrawn\n".to_owned())?;
        }
        Command::BreakGlass(breaking) => emergency::break_glass(&client, output, breaking).await?,
        Command::Unreviewed => emergency::unreviewed(&client, output).await?,
        Command::Review(review) => emergency::review(&client, output, review).await?,
        Command::Watch => watch(&client, output).await?,
    }
    Ok(exit::OK)
}

async fn yes(client: &Client, approve: Approve) -> Result<ApprovalInfo, Failure> {
    let mut shown = client.get_approval(&approve.grant).await?;
    // Why: what was read in a window of its own may be another request by now.
    if let Some(hash) = approve.hash {
        shown.request_hash = hash;
    }
    let within = approve.within.as_deref().map(ScopeBound::parse).transpose();
    let within = within.map_err(|error| Failure::Invalid(error.to_string()))?;
    let reach = match approve.for_session {
        true => Reach::Session { within, grants: approve.grants, ttl: approve.ttl },
        false => Reach::Once,
    };
    Ok(client.approve(&shown, reach, &approve.reason).await?)
}

async fn watch(client: &Client, output: Output) -> Result<(), Failure> {
    loop {
        let stream = match client.watch_approvals().await {
            Ok(stream) => stream,
            Err(error) if error.is_passing() => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        follow(stream, output).await?;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn follow(mut stream: Approvals, output: Output) -> Result<(), Failure> {
    loop {
        let found = match stream.next().await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(error) if error.is_passing() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        output.result(&found, || all(&found))?;
    }
}

fn all(found: &[ApprovalInfo]) -> String {
    if found.is_empty() {
        return "nothing waits\n".to_owned();
    }
    let now = now_millis();
    let rows = found.iter().map(|one| {
        let groups: Vec<_> = one.groups.iter().map(|group| group.name.as_str()).collect();
        [
            one.grant.id.clone(),
            one.grant.agent.clone(),
            one.grant.scope.clone(),
            groups.join(", "),
            one.given.len().to_string(),
            one.grant.expires_at.map(|time| span::relative(now, time)).unwrap_or_default(),
            if one.answerable { "you" } else { "" }.to_owned(),
        ]
    });
    table(["GRANT", "AGENT", "SCOPE", "ASKED", "GIVEN", "LAPSES", "WAITS FOR"], rows)
}

/// All that a yes would give. What the broker says comes first; what others wrote stands apart, as a
/// quotation.
fn one(found: &ApprovalInfo) -> String {
    let now = now_millis();
    let mut text = String::new();
    for line in &found.summary {
        text += &format!("{}\n", clean(line));
    }
    text.push('\n');
    let groups: Vec<_> = found.groups.iter().map(group).collect();
    let given = found.given.iter().map(|given| {
        let reach = if given.for_session { "for the session" } else { "once" };
        format!("{} {reach}, {}: {}", given.by, span::relative(now, given.at), given.reason)
    });
    let mut rows = vec![
        ("grant", found.grant.id.clone()),
        ("lapses", found.grant.expires_at.map(|at| span::relative(now, at)).unwrap_or_default()),
        ("hash", found.request_hash.clone()),
    ];
    rows.extend(groups.into_iter().map(|group| ("asked", group)));
    rows.extend(given.map(|given| ("given", given)));
    rows.push(("you can't", found.not_answerable.clone()));
    rows.push(("they say", quoted(&found.session.task)));
    rows.push(("", quoted(&found.grant.reason)));
    text += &list(rows);
    if found.answerable {
        let id = code(&found.grant.id);
        text += &format!(
            "\njeton approval approve {id} --hash {}\njeton approval reject {id} --reason …\n",
            code(&found.request_hash)
        );
    }
    text
}

fn group(group: &jeton_client::ApproverGroupInfo) -> String {
    let mut text = group.name.clone();
    if group.quorum > 1 {
        text += &format!(", {} people", group.quorum);
    }
    if group.reason_required {
        text += ", with a reason";
    }
    if group.session_grants > 0 {
        let longest = span::short(group.session_seconds.into());
        text += &format!(", for the session up to {} grants and {longest}", group.session_grants);
    }
    text
}

fn quoted(words: &str) -> String {
    // Why in one piece and without quotation marks: nothing in it may look like the end of it.
    let words: Vec<_> = words.split_whitespace().collect();
    match words.join(" ").replace(['“', '”', '„', '"'], "'") {
        words if words.is_empty() => words,
        words => format!("“{words}” (unchecked)"),
    }
}

fn given(found: &ApprovalInfo) -> String {
    let wanted = found.groups.iter().map(|group| group.quorum).min().unwrap_or(1);
    let id = code(&found.grant.id);
    format!("{id}: {} of {wanted} gave it\n", found.given.len())
}

//! `jeton policy`: what authors of policies need before anything rests on them. Works on a folder,
//! without a broker, but for `replay` and `suggest`, which read its log, and for what is about its own set.

mod online;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use jeton_client::{EntryFilter, PageOf, now_millis};
use jeton_domain::{
    approval::GroupName,
    audit::Entry,
    decision::{Delivery, Rules},
    principal::PrincipalId,
    scope::Scope,
    ttl::{Timestamp, Ttl},
};
use jeton_policy::{
    PolicyProblem, PolicySet, Vocabulary,
    author::{
        ask::{Answer, Ask, AskError, ask},
        cases, compare, format, lint,
        replay::{Recorded, Replay, Requests},
        suggest::Suggestion,
        survey::{self, Row},
    },
};
use serde::Serialize;
use serde_json::json;

use super::{
    Global,
    exit::{self, Exit},
    failure::Failure,
    output::{Output, clean, table},
    span,
};

/// Entries of one page of the log.
const PAGE: u32 = 1000;
/// Events that tell of requests.
const REQUESTS: [&str; 4] = ["intent", "issued", "pending", "denied"];

/// What to do with policies.
#[derive(Subcommand)]
pub enum Command {
    /// Tell every problem of a folder, and what its author hardly meant.
    Check {
        /// The folder.
        folder: PathBuf,
        /// Fail for what is only odd, too.
        #[arg(long)]
        strict: bool,
    },
    /// Bring the policies of a folder into one form. Comments stay.
    Fmt {
        /// The folder.
        folder: PathBuf,
        /// Change nothing; fail if something would be.
        #[arg(long)]
        check: bool,
    },
    /// Run tables of cases: who asks for what, and what has to be answered.
    Test {
        /// The folder.
        folder: PathBuf,
        /// Tables, in TOML.
        #[arg(required = true)]
        cases: Vec<PathBuf>,
        /// Fail if a policy decides in no case.
        #[arg(long)]
        cover_all: bool,
    },
    /// Tell what is answered to one question, why, and what would be granted instead.
    #[command(allow_missing_positional = true)]
    Explain {
        /// The folder; without it, the broker is asked, by what it has in force.
        folder: Option<PathBuf>,
        /// What is asked for, such as 'git:acme/api contents:write ref=main'.
        scope: String,
        #[command(flatten)]
        who: Who,
        /// How long; without it, as long as is allowed.
        #[arg(long, value_parser = span::parse, value_name = "SPAN")]
        ttl: Option<Duration>,
        /// A group that approved it.
        #[arg(long = "approved-by", value_name = "GROUP")]
        approvals: Vec<String>,
    },
    /// Tell what an agent may do, for all that the catalogue lists.
    Can {
        /// The folder; without it, the broker is asked, by what it has in force.
        folder: Option<PathBuf>,
        #[command(flatten)]
        who: Who,
    },
    /// Tell who of the listed agents may do something.
    #[command(allow_missing_positional = true)]
    Who {
        /// The folder; without it, the broker is asked, by what it has in force.
        folder: Option<PathBuf>,
        /// What.
        scope: String,
        /// For this person.
        #[arg(long, value_name = "NAME")]
        person: Option<String>,
    },
    /// Tell in words what differs between two folders.
    Diff {
        /// The one that holds.
        old: PathBuf,
        /// The other.
        new: PathBuf,
    },
    /// Decide again, by a folder, what a broker's log tells was asked: each answer that would be another.
    Replay {
        /// The folder.
        folder: PathBuf,
        /// How far back.
        #[arg(long, default_value = "30d", value_parser = span::parse, value_name = "SPAN")]
        since: Duration,
    },
    /// Tell what a broker has in force, and what it had.
    Loaded,
    /// Have a broker load its folder anew at once.
    Reload,
    /// Write the files of a set that a broker had in force into a new folder.
    Fetch {
        /// The set's hash.
        hash: String,
        /// The folder, which must not be there yet.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Have a broker go back to a set that it had in force. It holds until the folder is another than now.
    Rollback {
        /// The set's hash.
        hash: String,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
    /// Tell the least that would have been enough for what a broker's log tells was granted: envelopes and
    /// policies, and which policies of a folder decided nothing.
    Suggest {
        /// The folder, for its catalogue and its policies.
        folder: PathBuf,
        /// How far back.
        #[arg(long, default_value = "30d", value_parser = span::parse, value_name = "SPAN")]
        since: Duration,
    },
}

/// Who asks.
#[derive(Args)]
pub struct Who {
    /// The agent; without it, the broker answers for the session of your handle.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// The person that it acts for.
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// An agent that passed it on; the first one first.
    #[arg(long = "delegator", value_name = "NAME")]
    delegators: Vec<String>,
}

/// Does it.
///
/// # Errors
/// When the folder is no good, a question is none, or the broker can't be asked.
pub async fn run(global: &Global, command: Command) -> Result<Exit, Failure> {
    let output = global.output();
    match command {
        Command::Check { folder, strict } => check(output, &folder, strict),
        Command::Fmt { folder, check } => fmt(output, &folder, check),
        Command::Test { folder, cases, cover_all } => test(output, &folder, &cases, cover_all),
        Command::Explain { folder: None, scope, who, ttl, approvals } => {
            online::explain(global, super::ask::scope(&scope)?, who, ttl, approvals).await
        }
        Command::Can { folder: None, who } => online::can(global, who).await,
        Command::Who { folder: None, scope, person } => {
            online::who(global, &super::ask::scope(&scope)?, person.as_deref()).await
        }
        Command::Explain { folder: Some(folder), scope, who, ttl, approvals } => {
            let ttl = ttl.and_then(|ttl| u32::try_from(ttl.as_secs()).ok());
            let asked = Ask {
                ttl: ttl.and_then(Ttl::from_seconds),
                approvals: approvals.iter().map(|name| GroupName::new(name)).collect(),
                ..asked(&who, super::ask::scope(&scope)?)?
            };
            let answer = ask(&load(&folder)?, &asked).map_err(odd)?;
            let question = format!("{} for {}", asked.scope, asked.agent);
            output.result(&AnswerJson::of(&answer), || explained(&question, &answer))?;
            Ok(exit::OK)
        }
        Command::Can { folder: Some(folder), who } => {
            let (agent, person) = (who.named()?, optional(who.person.as_deref())?);
            let rows = survey::can(&load(&folder)?, &agent, person.as_ref(), now()).map_err(odd)?;
            surveyed(output, &rows, |row| row.scope.to_string())
        }
        Command::Who { folder: Some(folder), scope, person } => {
            let (scope, person) = (super::ask::scope(&scope)?, optional(person.as_deref())?);
            let rows = survey::who(&load(&folder)?, &scope, person.as_ref(), now()).map_err(odd)?;
            surveyed(output, &rows, |row| row.agent.clone())
        }
        Command::Diff { old, new } => {
            let found = compare::compare(&load(&old)?, &load(&new)?);
            output.result(&json!({ "differences": found.lines }), || {
                if found.lines.is_empty() { "the same\n".to_owned() } else { lines(&found.lines) }
            })?;
            Ok(exit::OK)
        }
        Command::Replay { folder, since } => replay(global, &load(&folder)?, since).await,
        Command::Loaded => loaded(global).await,
        Command::Reload => {
            let done = global.connect().await?.reload_policies().await?;
            output.result(&done, || {
                let word = if done.changed { "in force now" } else { "in force as before" };
                format!("{}{} is {word}\n", lines(&done.problems), clean(&done.hash))
            })?;
            Ok(if done.problems.is_empty() { exit::OK } else { exit::INVALID })
        }
        Command::Fetch { hash, out } => fetch(global, &hash, &out).await,
        Command::Rollback { hash, reason } => {
            let in_force = global.connect().await?.roll_back_policies(&hash, &reason).await?;
            output.result(&json!({ "hash": hash, "in_force": in_force }), || {
                let hash = clean(&hash);
                match in_force {
                    true => format!("{hash} is in force until the folder is another than now\n"),
                    false => format!(
                        "proposed; another operator has to want the same within an hour:\njeton policy rollback {hash} --reason …\n"
                    ),
                }
            })?;
            Ok(exit::OK)
        }
        Command::Suggest { folder, since } => suggest(global, &load(&folder)?, since).await,
    }
}

fn load(folder: &Path) -> Result<PolicySet, Failure> {
    PolicySet::load(folder, &Vocabulary::default())
        .map_err(|problems| Failure::Invalid(told(&problems).join("\n")))
}

fn told(problems: &[PolicyProblem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn check(output: Output, folder: &Path, strict: bool) -> Result<Exit, Failure> {
    let set = match PolicySet::load(folder, &Vocabulary::default()) {
        Ok(set) => set,
        Err(problems) => {
            let problems = told(&problems);
            output.result(&json!({ "problems": problems, "odd": [] }), || lines(&problems))?;
            return Ok(exit::INVALID);
        }
    };
    let odd = lint::lint(&set);
    let values: Vec<_> = odd
        .iter()
        .map(|one| json!({ "policy": one.policy.as_str(), "kind": one.kind, "words": one.words }))
        .collect();
    let (hash, count) = (set.hash().to_owned(), set.policies().count());
    output.result(&json!({ "problems": [], "odd": values, "hash": hash }), || {
        let mut text: String = odd
            .iter()
            .map(|one| format!("{}: {}: {}\n", one.policy, one.kind, one.words))
            .collect();
        text += &format!("{count} policies are good, {} findings; the set is {hash}\n", odd.len());
        text
    })?;
    Ok(if strict && !odd.is_empty() { exit::INVALID } else { exit::OK })
}

fn fmt(output: Output, folder: &Path, check: bool) -> Result<Exit, Failure> {
    let found =
        format::format(folder).map_err(|problems| Failure::Invalid(told(&problems).join("\n")))?;
    let files: Vec<_> = found.iter().map(|one| one.file.clone()).collect();
    if !check {
        for one in found {
            let path = folder.join(&one.file);
            let draft = folder.join(format!(".{}.new", one.file));
            // Why by rename: a broker that reloads at this moment reads the old or the new.
            fs::write(&draft, one.text)
                .and_then(|()| fs::rename(&draft, &path))
                .map_err(|error| Failure::Broken(format!("`{}`: {error}", path.display())))?;
        }
    }
    let word = if check { "would change" } else { "changed" };
    output.result(&json!({ "changed": files }), || {
        files.iter().map(|file| format!("{word} {file}\n")).collect()
    })?;
    Ok(if check && !files.is_empty() { exit::INVALID } else { exit::OK })
}

fn test(
    output: Output,
    folder: &Path,
    files: &[PathBuf],
    cover_all: bool,
) -> Result<Exit, Failure> {
    let set = load(folder)?;
    let mut all = Vec::new();
    for file in files {
        let shown = file.display().to_string();
        let text = fs::read_to_string(file)
            .map_err(|error| Failure::Invalid(format!("`{shown}` can't be read: {error}")))?;
        let cases = cases::read(&text, now())
            .map_err(|error| Failure::Invalid(format!("{shown}:{error}")))?;
        all.extend(cases);
    }
    let report = cases::run(&set, &all);
    let failed = report.failed();
    let wrong: Vec<_> = report.outcomes.iter().filter(|one| !one.wrong.is_empty()).collect();
    let values: Vec<_> = wrong
        .iter()
        .map(|one| json!({ "case": one.name, "line": one.line, "wrong": one.wrong }))
        .collect();
    let never: Vec<_> = report.never.iter().map(|id| id.as_str()).collect();
    let value = json!({ "cases": all.len(), "failed": values, "never_decided": never });
    output.result(&value, || {
        let mut text = String::new();
        for one in &wrong {
            text += &format!("FAILED {} (line {})\n", clean(&one.name), one.line);
            text += &one.wrong.iter().map(|why| format!("  {}\n", clean(why))).collect::<String>();
        }
        for id in &never {
            text += &format!("no case is decided by {id}\n");
        }
        let covered = report.policies.saturating_sub(never.len());
        let (cases, policies) = (all.len(), report.policies);
        text += &format!("{} of {cases} cases hold; ", cases.saturating_sub(failed));
        text += &format!("{covered} of {policies} policies decided in one\n");
        text
    })?;
    let good = failed == 0 && (never.is_empty() || !cover_all);
    Ok(if good { exit::OK } else { exit::INVALID })
}

fn asked(who: &Who, scope: Scope) -> Result<Ask, Failure> {
    let delegators = who.delegators.iter().map(|text| name(text));
    Ok(Ask {
        agent: who.named()?,
        person: optional(who.person.as_deref())?,
        delegators: delegators.collect::<Result<_, _>>()?,
        scope,
        ttl: None,
        delivery: Delivery::Direct,
        approvals: BTreeSet::new(),
        at: now(),
    })
}

impl Who {
    fn named(&self) -> Result<PrincipalId, Failure> {
        let agent = self.agent.as_deref().ok_or_else(|| {
            Failure::Invalid("a folder knows no session; name the agent by --agent".to_owned())
        })?;
        name(agent)
    }
}

fn explained(asked: &str, answer: &Answer) -> String {
    let mut text = format!("{}: {asked}\n", answer.word());
    match answer {
        Answer::Allow { ttl, .. } => text += &format!("  longest:      {} s\n", ttl.seconds()),
        Answer::NeedsApproval { ttl, guards, .. } => {
            text += &format!("  longest:      {} s\n", ttl.seconds());
            for guard in guards {
                let groups: Vec<_> = guard.groups.iter().map(GroupName::as_str).collect();
                let (policy, groups) = (&guard.policy, groups.join(" or "));
                text += &format!("  held by:      {policy}, lifted by {groups}: ");
                text += &format!("{}\n", clean(guard.reason.as_str()));
            }
        }
        Answer::Deny { layer, reason, instead, .. } => {
            text += &format!("  layer:        {}\n", layer.word());
            text += &format!("  why:          {}\n", clean(reason));
            for scope in instead {
                text += &format!("  would be:     {}\n", clean(scope));
            }
        }
    }
    let ids: Vec<_> = answer.policies().iter().map(|id| id.as_str()).collect();
    if !ids.is_empty() {
        text += &format!("  policies:     {}\n", ids.join(", "));
    }
    text
}

/// An answer for programs.
#[derive(Serialize)]
struct AnswerJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    answer: &'static str,
    policies: Vec<&'a str>,
    ttl_seconds: Option<u32>,
    groups: Vec<String>,
    layer: Option<&'static str>,
    reason: Option<&'a str>,
    instead: &'a [String],
}

impl<'a> AnswerJson<'a> {
    fn of(answer: &'a Answer) -> Self {
        let (ttl, why, instead): (_, _, &[String]) = match answer {
            Answer::Allow { ttl, .. } | Answer::NeedsApproval { ttl, .. } => (Some(ttl), None, &[]),
            Answer::Deny { layer, reason, instead, .. } => (None, Some((layer, reason)), instead),
        };
        Self {
            agent: None,
            scope: None,
            answer: answer.word(),
            policies: answer.policies().iter().map(|id| id.as_str()).collect(),
            ttl_seconds: ttl.map(|ttl| ttl.seconds()),
            groups: answer.groups().iter().map(ToString::to_string).collect(),
            layer: why.map(|(layer, _)| layer.word()),
            reason: why.map(|(_, reason)| reason.as_str()),
            instead,
        }
    }
}

fn surveyed(output: Output, rows: &[Row], what: impl Fn(&Row) -> String) -> Result<Exit, Failure> {
    let values: Vec<_> = rows
        .iter()
        .map(|row| AnswerJson {
            agent: Some(&row.agent),
            scope: Some(row.scope.to_string()),
            ..AnswerJson::of(&row.answer)
        })
        .collect();
    output.result(&values, || {
        let cells = rows.iter().map(|row| {
            let (longest, by) = match &row.answer {
                Answer::Allow { ttl, policies } => {
                    (span::short(ttl.seconds().into()), ids(policies))
                }
                Answer::NeedsApproval { ttl, .. } => {
                    let groups: Vec<_> =
                        row.answer.groups().iter().map(ToString::to_string).collect();
                    (span::short(ttl.seconds().into()), groups.join(" or "))
                }
                Answer::Deny { policies, .. } => (String::new(), ids(policies)),
            };
            [what(row), row.answer.word().to_owned(), longest, by]
        });
        table(["WHAT", "ANSWER", "LONGEST", "BY"], cells)
    })?;
    Ok(exit::OK)
}

fn ids(policies: &[jeton_domain::decision::PolicyId]) -> String {
    policies.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ")
}

async fn loaded(global: &Global) -> Result<Exit, Failure> {
    let found = global.connect().await?.policies().await?;
    global.output().result(&found, || {
        let now = now_millis();
        let rows = found.kept.iter().map(|one| {
            let holds = if one.hash == found.hash { "in force" } else { "" };
            [one.hash.clone(), span::relative(now, one.since), holds.to_owned()]
        });
        let instead = found.instead_of.as_ref().map_or_else(String::new, |hash| {
            format!("\nin place of the folder's, {}, until that is another\n", clean(hash))
        });
        table(["SET", "SINCE", ""], rows) + &instead
    })?;
    Ok(exit::OK)
}

async fn fetch(global: &Global, hash: &str, out: &Path) -> Result<Exit, Failure> {
    let files = global.connect().await?.policy_set(hash).await?;
    let broken = |error: std::io::Error| Failure::Broken(format!("`{}`: {error}", out.display()));
    fs::create_dir(out).map_err(broken)?;
    for (name, text) in &files {
        // Why: a name of the broker's must not lead elsewhere.
        if Path::new(name).components().count() != 1 || name.starts_with('.') {
            return Err(Failure::Broken(format!("`{}` is no name of a file", clean(name))));
        }
        fs::write(out.join(name), text).map_err(broken)?;
    }
    let count = files.len();
    global.output().result(&json!({ "files": count }), || {
        format!("{count} files in {}\n", clean(&out.display().to_string()))
    })?;
    Ok(exit::OK)
}

/// Reads from a broker's log what was asked, and hands each request on.
async fn requests(
    global: &Global,
    since: Duration,
    mut take: impl FnMut(Recorded) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client = global.connect().await?;
    let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let mut requests = Requests::default();
    for event in REQUESTS {
        let filter = EntryFilter {
            event: Some(event.to_owned()),
            since: Some(now_millis().saturating_sub(since)),
            ..EntryFilter::default()
        };
        let mut page = PageOf { size: PAGE, token: None };
        loop {
            let found = client.list_entries(filter.clone(), true, page).await?;
            for info in &found.items {
                let entry = Entry::parse(info.text.as_bytes())
                    .map_err(|error| Failure::Broken(format!("entry {}: {error}", info.index)))?;
                requests.of(&entry).map_or(Ok(()), &mut take)?;
            }
            match found.next {
                Some(token) => page = PageOf { size: PAGE, token: Some(token) },
                None => break,
            }
        }
    }
    Ok(())
}

async fn suggest(global: &Global, set: &PolicySet, since: Duration) -> Result<Exit, Failure> {
    let mut suggestion = Suggestion::default();
    requests(global, since, |recorded| {
        suggestion.take(&recorded);
        Ok(())
    })
    .await?;
    let agents: Vec<_> = suggestion
        .agents()
        .map(|agent| {
            json!({
                "agent": agent.as_str(),
                "envelope": suggestion.envelope(agent),
                "policies": suggestion.policies(set, agent),
            })
        })
        .collect();
    let never = suggestion.never_decided(set);
    let ids: Vec<_> = never.iter().map(|id| id.as_str()).collect();
    global.output().result(&json!({ "agents": agents, "never_decided": ids }), || {
        let mut text = String::new();
        for agent in suggestion.agents() {
            text += &format!("// {agent}; the smallest envelope:\n");
            let lines = suggestion.envelope(agent);
            text +=
                &lines.iter().map(|line| format!("//   --allow '{line}'\n")).collect::<String>();
            text += &suggestion.policies(set, agent);
        }
        for id in &never {
            text += &format!("// `{id}` decided nothing that was asked.\n");
        }
        if text.is_empty() { "// nothing was asked\n".to_owned() } else { text }
    })?;
    Ok(exit::OK)
}

async fn replay(global: &Global, set: &PolicySet, since: Duration) -> Result<Exit, Failure> {
    let mut replay = Replay::default();
    requests(global, since, |recorded| replay.again(set, &recorded).map_err(odd)).await?;
    let flips: Vec<_> = replay.flips().collect();
    let values: Vec<_> = flips
        .iter()
        .map(|flip| {
            json!({
                "agent": flip.agent.as_str(), "scope": flip.scope, "was": flip.was,
                "would_be": flip.now, "why": flip.why, "count": flip.count,
                "last": flip.last.millis(),
            })
        })
        .collect();
    let requests = replay.requests;
    global.output().result(&json!({ "requests": requests, "flips": values }), || {
        let cells = flips.iter().map(|flip| {
            let change = format!("{} → {}", flip.was, flip.now);
            let last = span::relative(now_millis(), flip.last.millis());
            let agent = flip.agent.to_string();
            [change, flip.count.to_string(), last, agent, flip.scope.clone(), flip.why.clone()]
        });
        let header = ["CHANGE", "TIMES", "LAST", "AGENT", "SCOPE", "WHY"];
        let shown = if flips.is_empty() { String::new() } else { table(header, cells) + "\n" };
        format!("{shown}{requests} requests, {} of them would be answered otherwise\n", {
            flips.iter().map(|flip| flip.count).sum::<u64>()
        })
    })?;
    Ok(exit::OK)
}

fn lines(all: &[String]) -> String {
    all.iter().map(|line| format!("{}\n", clean(line))).collect()
}

fn odd(error: AskError) -> Failure {
    Failure::Invalid(error.to_string())
}

fn name(text: &str) -> Result<PrincipalId, Failure> {
    PrincipalId::parse(text).map_err(|error| Failure::Invalid(error.to_string()))
}

fn optional(text: Option<&str>) -> Result<Option<PrincipalId>, Failure> {
    text.map(name).transpose()
}

fn now() -> Timestamp {
    Timestamp::from_millis(now_millis())
}

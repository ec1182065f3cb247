//! Reads `catalogue.toml`: what was typed, then what it means. Tells every problem, not the first.

mod budgets;
mod emergencies;
mod reviewers;
mod routes;

use std::{collections::BTreeSet, sync::Arc};

use jeton_domain::{
    approval::{GroupName, SessionTerms, Terms},
    limits::{APPROVALS_OF_GRANT, BUDGETS, SESSION_GRANTS, SESSION_TTL_SECONDS},
    pattern::NamePattern,
    people::Account,
    principal::{Issuer, PrincipalId},
    review::is_reviewer,
    scope::{Action, Resource, Upstream},
    ttl::Ttl,
};
use serde::{Deserialize, de::DeserializeOwned};
use toml::{Spanned, Value};

use super::{
    catalogue::{AgentRule, Catalogue, Group, Listed},
    problem::{PolicyProblem, Source},
};

/// The file's name in the folder.
pub const CATALOGUE: &str = "catalogue.toml";

/// Why values: each entry is then read by itself, and one bad entry hides no other.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCatalogue {
    team: Vec<Spanned<Value>>,
    upstream: Vec<Spanned<Value>>,
    resource: Vec<Spanned<Value>>,
    agent: Vec<Spanned<Value>>,
    person: Vec<Spanned<Value>>,
    group: Vec<Spanned<Value>>,
    budget: Vec<Spanned<Value>>,
    break_glass: Vec<Spanned<Value>>,
    reviewer: Vec<Spanned<Value>>,
    route: Vec<Spanned<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTeam {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUpstream {
    name: Upstream,
    #[serde(default)]
    actions: Vec<Action>,
    case_sensitive: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawResource {
    upstream: Upstream,
    name: Resource,
    id: Option<String>,
    tier: Option<String>,
    owner: Option<String>,
    #[serde(default)]
    labels: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAgent {
    r#match: String,
    #[serde(default)]
    teams: BTreeSet<String>,
    trust: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPerson {
    id: PrincipalId,
    #[serde(default)]
    teams: BTreeSet<String>,
    #[serde(default)]
    aliases: BTreeSet<PrincipalId>,
    #[serde(default)]
    accounts: BTreeSet<Account>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: String,
    #[serde(default)]
    members: BTreeSet<PrincipalId>,
    #[serde(default)]
    claimed: Vec<RawClaimed>,
    quorum: Option<u32>,
    #[serde(default)]
    reason: bool,
    session: Option<RawSession>,
    reviewer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaimed {
    issuer: String,
    group: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSession {
    grants: u32,
    seconds: u32,
}

/// Reads the whole file; what is wrong goes to `problems`, and what is right is used to find more.
/// `None` if not even its tables could be read.
pub(super) fn read(source: &Source, problems: &mut Vec<PolicyProblem>) -> Option<Catalogue> {
    let raw: RawCatalogue = match toml::from_str(&source.text) {
        Ok(raw) => raw,
        Err(error) => {
            let byte = error.span().map_or(0, |span| span.start);
            problems.push(PolicyProblem::at(source, byte, error.message(), ""));
            return None;
        }
    };
    let mut reading = Reading { source, problems, catalogue: Catalogue::default() };
    reading.entries(raw.team, Reading::team);
    reading.entries(raw.upstream, Reading::upstream);
    reading.entries(raw.resource, Reading::resource);
    reading.entries(raw.agent, Reading::agent);
    reading.entries(raw.person, Reading::person);
    // Why before the groups: they name reviewers.
    reading.entries(raw.reviewer, Reading::reviewer);
    reading.entries(raw.group, Reading::group);
    reading.entries(raw.budget, Reading::budget);
    reading.entries(raw.break_glass, Reading::glass);
    reading.entries(raw.route, Reading::route);
    Some(reading.catalogue)
}

struct Reading<'a> {
    source: &'a Source,
    problems: &'a mut Vec<PolicyProblem>,
    catalogue: Catalogue,
}

/// What is wrong, and what to write instead.
type Wrong = (String, &'static str);

impl Reading<'_> {
    fn entries<T: DeserializeOwned>(
        &mut self,
        entries: Vec<Spanned<Value>>,
        take: fn(&mut Self, T) -> Result<(), Wrong>,
    ) {
        for entry in entries {
            let byte = entry.span().start;
            let taken = match entry.into_inner().try_into() {
                Ok(raw) => take(self, raw),
                Err(error) => Err((error.message().to_owned(), "")),
            };
            if let Err((message, hint)) = taken {
                self.problems.push(PolicyProblem::at(self.source, byte, message, hint));
            }
        }
    }

    fn team(&mut self, raw: RawTeam) -> Result<(), Wrong> {
        word("team", &raw.name)?;
        let name = raw.name.clone();
        once(self.catalogue.teams.insert(raw.name), || format!("the team `{name}`"))
    }

    fn upstream(&mut self, raw: RawUpstream) -> Result<(), Wrong> {
        let new = !self.catalogue.upstreams.contains_key(&raw.name);
        once(new, || format!("the upstream `{}`", raw.name))?;
        if let Some(case_sensitive) = raw.case_sensitive {
            self.catalogue.spelling.insert(raw.name.clone(), case_sensitive);
        }
        self.catalogue.upstreams.insert(raw.name, raw.actions);
        Ok(())
    }

    fn resource(&mut self, raw: RawResource) -> Result<(), Wrong> {
        let title = format!("{}:{}", raw.upstream, raw.name);
        if !self.catalogue.upstreams.contains_key(&raw.upstream) {
            let message = format!("the upstream `{}` of `{title}` is not declared", raw.upstream);
            return Err((message, "add an [[upstream]] of that name, or correct it"));
        }
        for (what, text) in [("id", &raw.id), ("tier", &raw.tier)] {
            text.as_deref().map_or(Ok(()), |text| word(what, text))?;
        }
        raw.labels.iter().try_for_each(|label| word("label", label))?;
        self.known(raw.owner.as_slice())?;
        if let Some(id) = &raw.id {
            // Why: one id for two things would give both what one of them was meant to get.
            once(self.catalogue.ids.insert(id.clone()), || format!("the resource id `{id}`"))?;
        }
        let listed = Listed { id: raw.id, tier: raw.tier, owner: raw.owner, labels: raw.labels };
        let old = self.catalogue.resources.insert((raw.upstream, raw.name), listed);
        once(old.is_none(), || format!("the resource `{title}`"))
    }

    fn agent(&mut self, raw: RawAgent) -> Result<(), Wrong> {
        let who = NamePattern::parse(&raw.r#match).map_err(|error| (error.to_string(), ""))?;
        self.known(&raw.teams)?;
        if raw.trust.is_some_and(|trust| !(0..=10).contains(&trust)) {
            return Err((
                format!("the trust of `{}` is out of range", raw.r#match),
                "0 to 10 are allowed",
            ));
        }
        self.catalogue.agents.push(AgentRule { who, teams: raw.teams, trust: raw.trust });
        Ok(())
    }

    fn person(&mut self, raw: RawPerson) -> Result<(), Wrong> {
        self.known(&raw.teams)?;
        if let Some(name) = raw.aliases.iter().chain([&raw.id]).find(|name| is_reviewer(name)) {
            let message = format!("`{name}` is the name of a reviewer, which is a program");
            return Err((message, "name the person as a token or a certificate does"));
        }
        let title = format!("the person `{}`", raw.id);
        once(!self.catalogue.persons.contains_key(&raw.id), || title)?;
        let people = Arc::make_mut(&mut self.catalogue.people);
        let declared = people.declare(&raw.id, &raw.aliases, &raw.accounts);
        declared.map_err(|error| {
            (error.to_string(), "give each person one entry, with every name in `aliases`")
        })?;
        self.catalogue.persons.insert(raw.id, raw.teams);
        Ok(())
    }

    fn group(&mut self, raw: RawGroup) -> Result<(), Wrong> {
        word("group", &raw.name)?;
        if raw.members.is_empty() && raw.claimed.is_empty() {
            let message = format!("the group `{}` has no members", raw.name);
            return Err((message, "what it guards could never be lifted; name at least one"));
        }
        let quorum = raw.quorum.unwrap_or(1);
        // Why people and not names: two names of one person are one approver.
        let people = self.identities(raw.members);
        let members = u32::try_from(people.len()).unwrap_or(u32::MAX);
        // Why not with `claimed`: how many an issuer counts among them is not known here.
        let members = if raw.claimed.is_empty() { members } else { u32::MAX };
        let most = u32::try_from(APPROVALS_OF_GRANT).unwrap_or(u32::MAX).min(members);
        if !(1..=most).contains(&quorum) {
            let message = format!("the group `{}` wants {quorum} approvals", raw.name);
            return Err((message, "a quorum is 1 to the number of members, and 16 at most"));
        }
        let session = raw.session.map(|raw| session(&raw)).transpose()?;
        let terms = Terms { quorum, reason: raw.reason, session };
        let claimed = raw.claimed.into_iter();
        let claimed = claimed.map(|one| (Issuer::new(&one.issuer), one.group)).collect();
        let reviewer = self.reviewer_of(&raw.name, raw.reviewer.as_deref())?;
        let group = Group { members: people, claimed, terms, reviewer };
        let old = self.catalogue.groups.insert(GroupName::new(&raw.name), group);
        once(old.is_none(), || format!("the group `{}`", raw.name))
    }

    fn budget(&mut self, raw: budgets::RawBudget) -> Result<(), Wrong> {
        let budget = budgets::budget(raw)?;
        let (known, title) = (&mut self.catalogue.budgets, format!("the budget `{}`", budget.name));
        once(known.iter().all(|one| one.name != budget.name), || title)?;
        if known.len() >= BUDGETS {
            return Err((
                format!("there are more than {BUDGETS} budgets"),
                "let one count for more",
            ));
        }
        known.push(Arc::new(budget));
        Ok(())
    }

    fn glass(&mut self, raw: emergencies::RawGlass) -> Result<(), Wrong> {
        let groups = &self.catalogue.groups;
        let mut glass = emergencies::glass(raw, |group| groups.contains_key(group))?;
        glass.members = self.identities(glass.members);
        let (known, title) = (&mut self.catalogue.glasses, glass.name.as_str().to_owned());
        let new = known.iter().all(|one| one.name != glass.name);
        once(new, || format!("break_glass `{title}`"))?;
        known.push(glass);
        Ok(())
    }

    /// The one name of each.
    fn identities(&self, names: BTreeSet<PrincipalId>) -> BTreeSet<PrincipalId> {
        names.iter().map(|name| self.catalogue.people.identity(name)).collect()
    }

    fn known<'t>(&self, teams: impl IntoIterator<Item = &'t String>) -> Result<(), Wrong> {
        match teams.into_iter().find(|team| !self.catalogue.teams.contains(*team)) {
            None => Ok(()),
            Some(team) => Err((
                format!("the team `{team}` is not declared"),
                "add a [[team]] of that name, or correct it",
            )),
        }
    }
}

fn session(raw: &RawSession) -> Result<SessionTerms, Wrong> {
    let ttl = Ttl::from_seconds(raw.seconds).filter(|ttl| ttl.seconds() <= SESSION_TTL_SECONDS);
    match ttl {
        Some(ttl) if (1..=SESSION_GRANTS).contains(&raw.grants) => {
            Ok(SessionTerms { grants: raw.grants, ttl })
        }
        Some(_) | None => Err((
            "an approval for a session would reach no grant, or too far".to_owned(),
            "`grants` is 1 to 1,000,000, `seconds` 1 to 604,800",
        )),
    }
}

fn word(what: &str, text: &str) -> Result<(), Wrong> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(good) {
        return Ok(());
    }
    let hint = "1 to 64 letters, digits, `.`, `_` and `-` are allowed";
    Err((format!("the {what} `{}` is not a word", text.escape_debug()), hint))
}

fn once(new: bool, title: impl FnOnce() -> String) -> Result<(), Wrong> {
    if new {
        Ok(())
    } else {
        Err((format!("{} stands here a second time", title()), "remove one of the two"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let source = Source { name: CATALOGUE.into(), text: text.into() };
        let mut problems = vec![];
        read(&source, &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    fn catalogue(text: &str) -> Catalogue {
        assert_eq!(problems(text), [""; 0]);
        let source = Source { name: CATALOGUE.into(), text: text.into() };
        read(&source, &mut vec![]).unwrap()
    }

    #[test]
    fn every_problem_is_told_with_its_line_and_what_to_do() {
        let found = problems(
            r#"[[team]]
name = "builders"
[[team]]
name = "builders"
[[team]]
nmae = "x"
[[upstream]]
name = "Git"
[[upstream]]
name = "git"
[[resource]]
upstream = "gti"
name = "acme/api"
[[resource]]
upstream = "git"
name = "acme/api"
owner = "biulders"
[[resource]]
upstream = "git"
name = "acme/*"
[[resource]]
upstream = "git"
name = "acme/a"
id = "git:acme/b"
[[resource]]
upstream = "git"
name = "acme/one"
id = "7"
[[resource]]
upstream = "git"
name = "acme/two"
id = "7"
[[agent]]
match = "spiffe://a//b"
[[agent]]
match = "**"
trust = 11
[[person]]
id = "ana"
teams = ["platfrom"]
[[group]]
name = "security"
members = []
"#,
        );
        let wanted = [
            (3, "the team `builders` stands here a second time; remove one of the two"),
            (5, "unknown field `nmae`, expected `name`"),
            (7, "the upstream `Git` is not a name"),
            (
                11,
                "the upstream `gti` of `gti:acme/api` is not declared; add an [[upstream]] of that name",
            ),
            (14, "the team `biulders` is not declared; add a [[team]] of that name, or correct it"),
            (18, "the resource `acme/*` is not a name"),
            (21, "the id `git:acme/b` is not a word"),
            (29, "the resource id `7` stands here a second time"),
            (33, "has an empty"),
            (35, "the trust of `**` is out of range; 0 to 10 are allowed"),
            (38, "the team `platfrom` is not declared"),
            (41, "the group `security` has no members; what it guards could never be lifted"),
        ];
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        for (found, (line, words)) in found.iter().zip(wanted) {
            assert!(found.starts_with(&format!("catalogue.toml:{line}: ")), "{found} at {line}");
            assert!(found.contains(words), "{found}: {words}");
        }
        assert!(problems("[[team]\n")[0].starts_with("catalogue.toml:1: "));
        assert!(problems("\n[[taem]]\nname = \"x\"")[0].contains(":2: unknown field `taem`"));
    }

    #[test]
    fn teams_of_matching_entries_add_up_and_the_lowest_trust_counts() {
        let catalogue = catalogue(
            r#"team = [{ name = "a" }, { name = "b" }]
            [[agent]]
            match = "spiffe://acme.dev/agent/**"
            teams = ["a"]
            trust = 3
            [[agent]]
            match = "spiffe://acme.dev/agent/x"
            teams = ["b"]
            trust = 2
            [[agent]]
            match = "acme.dev/**"
            trust = 9"#,
        );
        let agent = |name: &str| catalogue.agent(&PrincipalId::parse(name).unwrap());
        let both = agent("spiffe://acme.dev/agent/x");
        assert_eq!((both.teams.len(), both.trust), (2, 2));
        assert_eq!(agent("spiffe://acme.dev/agent/y").trust, 3);
        assert_eq!(agent("spiffe://acme.dev/other").trust, 0);
        assert_eq!(agent("acme.dev/agent/x").trust, 9, "a name without a scheme is another name");
    }

    #[test]
    fn a_listed_resource_is_found_by_its_name() {
        let catalogue = catalogue(
            "upstream = [{ name = \"git\", case_sensitive = false }]\nresource = [{ upstream = \"git\", name = \"Acme/API\", id = \"7\" }]",
        );
        let (git, api) = (Upstream::parse("git").unwrap(), Resource::parse("Acme/API").unwrap());
        assert_eq!(catalogue.resource(&git, &api).unwrap().id.as_deref(), Some("7"));
    }
}

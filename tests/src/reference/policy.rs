//! Policies as they are meant: a scope, conditions, and facts that they are about.

use std::collections::{BTreeMap, BTreeSet};

use super::fits;

/// What is known, and what holds.
#[derive(Debug, Clone)]
pub struct Book {
    pub facts: Facts,
    pub rules: Vec<Rule>,
}

/// A catalogue.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub actions: BTreeMap<&'static str, Vec<&'static str>>,
    pub resources: Vec<Listed>,
    pub agents: Vec<Known>,
    /// Teams of persons.
    pub persons: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

/// A resource that somebody listed.
#[derive(Debug, Clone)]
pub struct Listed {
    pub upstream: &'static str,
    pub name: &'static str,
    pub id: Option<String>,
    pub tier: Option<&'static str>,
    pub owner: Option<&'static str>,
    pub labels: BTreeSet<&'static str>,
}

/// What is known about agents with such names.
#[derive(Debug, Clone)]
pub struct Known {
    pub pattern: &'static str,
    pub teams: BTreeSet<&'static str>,
    pub trust: Option<u32>,
}

/// A policy.
#[derive(Debug, Clone)]
pub struct Rule {
    pub id: String,
    pub forbids: bool,
    pub who: Who,
    pub what: What,
    pub place: Place,
    /// All have to hold.
    pub when: Vec<Test>,
    /// None may hold.
    pub unless: Vec<Test>,
    /// Whether it leaves direct delivery alone, whatever it reads.
    pub opts_out: bool,
}

/// Whom a policy is about.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    Anybody,
    Team(&'static str),
    Agent(&'static str),
}

/// What a policy is about.
#[derive(Debug, Clone)]
pub enum What {
    Anything,
    /// `grant`, or a level.
    Group(&'static str),
    One(&'static str),
    Several(Vec<&'static str>),
}

/// Where a policy holds.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    Anywhere,
    Upstream(&'static str),
    Org(&'static str, &'static str),
    Resource(&'static str, &'static str),
}

/// A condition.
#[derive(Debug, Clone)]
pub enum Test {
    TtlAtMost(u32),
    RefBegins(&'static str),
    RefIs(&'static str),
    Tier(&'static str),
    Label(&'static str),
    Owner(&'static str),
    HasPerson,
    PersonIs(&'static str),
    PersonIn(&'static str),
    DepthAtMost(usize),
    PassedOnBy(&'static str),
    TrustAtLeast(u32),
    AgentIn(&'static str),
    ByGateway,
    /// A push brings a file in this folder. Nothing is pushed when a grant is asked for.
    BringsFile(&'static str),
    /// A call has this method.
    Calls(&'static str),
    /// Seconds since 1970.
    Since(i64),
    ApprovedBy(&'static str),
    /// Can't be computed.
    Overflows,
    Not(Box<Test>),
    All(Vec<Test>),
    Any(Vec<Test>),
}

/// What the policies are asked.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub agent: &'a str,
    pub person: Option<&'a str>,
    /// The agents that passed it on.
    pub above: &'a [&'static str],
    pub upstream: &'a str,
    pub resource: &'a str,
    pub action: &'a str,
    pub ttl: u32,
    /// A pattern's text, or one ref.
    pub reference: Option<&'a str>,
    pub gateway: bool,
    pub approvals: &'a BTreeSet<&'static str>,
    pub now: i64,
}

/// What they answer.
#[derive(Debug)]
pub enum Answer<'b> {
    Broken(Vec<&'b Rule>),
    Nothing,
    Forbid(Vec<&'b Rule>),
    /// No forbid that nobody lifts, and these read what nobody sees of a direct credential.
    GatewayOnly(Vec<&'b Rule>),
    Allow(Vec<&'b Rule>),
}

/// Says that a condition can't be computed.
pub struct Broken;

impl Book {
    /// One forbid is enough to refuse; without a permit nothing is allowed; what is broken decides
    /// nothing.
    #[must_use]
    pub fn answer(&self, ask: &Ask<'_>) -> Answer<'_> {
        if !self.facts.actions.get(ask.upstream).is_some_and(|known| known.contains(&ask.action)) {
            return Answer::Nothing;
        }
        let (mut broken, mut forbids, mut permits) = (vec![], vec![], vec![]);
        for rule in &self.rules {
            match rule.speaks(&self.facts, ask) {
                Err(Broken) => broken.push(rule),
                Ok(true) if rule.forbids => forbids.push(rule),
                Ok(true) => permits.push(rule),
                Ok(false) => {}
            }
        }
        let blind = self.rules.iter().filter(|rule| {
            // What is held to do one thing does what is below it as well.
            let about = |action: &str| rule.is_about(&self.facts, &Ask { action, ..*ask });
            let (permission, level) = ask.action.split_once(':').unwrap_or_default();
            let below: &[&str] = match level {
                "admin" => &["write", "read"],
                "write" => &["read"],
                _ => &[],
            };
            let below = below.iter().map(|level| format!("{permission}:{level}"));
            let named = about(ask.action) || below.into_iter().any(|action| about(&action));
            !ask.gateway && rule.is_gateway_only() && named
        });
        let blind: Vec<_> = blind.collect();
        let denied_anyway = match (forbids.is_empty(), permits.is_empty()) {
            (true, nothing) => nothing,
            (false, _) => forbids.iter().any(|rule: &&Rule| rule.groups().is_empty()),
        };
        if broken.is_empty() && !denied_anyway && !blind.is_empty() {
            return Answer::GatewayOnly(blind);
        }
        match (broken.is_empty(), forbids.is_empty(), permits.is_empty()) {
            (false, _, _) => Answer::Broken(broken),
            (true, false, _) => Answer::Forbid(forbids),
            (true, true, true) => Answer::Nothing,
            (true, true, false) => Answer::Allow(permits),
        }
    }
}

impl Rule {
    /// The groups that can lift it.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<&'static str> {
        let mut groups = BTreeSet::new();
        if self.forbids {
            self.unless.iter().for_each(|test| test.groups(&mut groups));
        }
        groups
    }

    /// Whether it reads what only the gateway sees, and means it.
    fn is_gateway_only(&self) -> bool {
        !self.opts_out && self.when.iter().chain(&self.unless).any(Test::reads_deed)
    }

    /// Tells whether it speaks: a permit for it, a forbid against it.
    fn speaks(&self, facts: &Facts, ask: &Ask<'_>) -> Result<bool, Broken> {
        if !self.is_about(facts, ask) {
            return Ok(false);
        }
        for test in &self.when {
            if !test.holds(facts, ask)? {
                return Ok(false);
            }
        }
        for test in &self.unless {
            if test.holds(facts, ask)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_about(&self, facts: &Facts, ask: &Ask<'_>) -> bool {
        let who = match self.who {
            Who::Anybody => true,
            Who::Team(team) => facts.agent_in(ask.agent, team),
            Who::Agent(name) => name == ask.agent,
        };
        let what = match &self.what {
            What::Anything => true,
            What::Group(group) => *group == "grant" || *group == level(ask.action),
            What::One(action) => *action == ask.action,
            What::Several(actions) => actions.contains(&ask.action),
        };
        let place = match self.place {
            Place::Anywhere => true,
            Place::Upstream(upstream) => upstream == ask.upstream,
            Place::Org(upstream, org) => {
                let first = ask.resource.split_once('/').map(|(first, _)| first);
                upstream == ask.upstream && first == Some(org)
            }
            Place::Resource(upstream, name) => upstream == ask.upstream && name == ask.resource,
        };
        who && what && place
    }
}

impl Test {
    fn holds(&self, facts: &Facts, ask: &Ask<'_>) -> Result<bool, Broken> {
        let listed = || facts.listed(ask.upstream, ask.resource);
        Ok(match self {
            Self::TtlAtMost(most) => ask.ttl <= *most,
            Self::RefBegins(prefix) => ask.reference.is_some_and(|text| text.starts_with(prefix)),
            Self::RefIs(text) => ask.reference == Some(text),
            Self::Tier(tier) => listed().is_some_and(|one| one.tier == Some(tier)),
            Self::Label(label) => listed().is_some_and(|one| one.labels.contains(label)),
            Self::Owner(team) => listed().is_some_and(|one| one.owner == Some(team)),
            Self::HasPerson => ask.person.is_some(),
            Self::PersonIs(name) => ask.person == Some(name),
            Self::PersonIn(team) => {
                let teams = ask.person.and_then(|person| facts.persons.get(person));
                teams.is_some_and(|teams| teams.contains(team))
            }
            Self::DepthAtMost(most) => ask.above.len() <= *most,
            Self::PassedOnBy(agent) => ask.above.contains(agent),
            Self::TrustAtLeast(least) => facts.trust(ask.agent) >= *least,
            Self::AgentIn(team) => facts.agent_in(ask.agent, team),
            Self::ByGateway => ask.gateway,
            Self::BringsFile(_) | Self::Calls(_) => false,
            Self::Since(time) => ask.now >= *time,
            Self::ApprovedBy(group) => ask.approvals.contains(group),
            Self::Overflows => return Err(Broken),
            Self::Not(test) => !test.holds(facts, ask)?,
            Self::All(tests) => {
                for test in tests {
                    if !test.holds(facts, ask)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Any(tests) => {
                for test in tests {
                    if test.holds(facts, ask)? {
                        return Ok(true);
                    }
                }
                false
            }
        })
    }

    fn reads_deed(&self) -> bool {
        match self {
            Self::BringsFile(_) | Self::Calls(_) => true,
            Self::Not(test) => test.reads_deed(),
            Self::All(tests) | Self::Any(tests) => tests.iter().any(Self::reads_deed),
            _ => false,
        }
    }

    fn groups(&self, found: &mut BTreeSet<&'static str>) {
        match self {
            Self::ApprovedBy(group) => drop(found.insert(group)),
            Self::All(tests) | Self::Any(tests) => {
                tests.iter().for_each(|test| test.groups(found));
            }
            _ => {}
        }
    }
}

impl Facts {
    /// The resource, if it is listed.
    #[must_use]
    pub fn listed(&self, upstream: &str, name: &str) -> Option<&Listed> {
        self.resources.iter().find(|one| (one.upstream, one.name) == (upstream, name))
    }

    fn known<'f>(&'f self, agent: &'f str) -> impl Iterator<Item = &'f Known> {
        self.agents.iter().filter(move |known| fits(known.pattern, agent))
    }

    fn agent_in(&self, agent: &str, team: &str) -> bool {
        self.known(agent).any(|known| known.teams.contains(team))
    }

    fn trust(&self, agent: &str) -> u32 {
        self.known(agent).filter_map(|known| known.trust).min().unwrap_or(0)
    }
}

fn level(action: &str) -> &str {
    let (_, level) = action.split_once(':').unwrap();
    if ["read", "write", "admin"].contains(&level) { level } else { "other" }
}

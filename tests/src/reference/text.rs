//! The reference's policies and facts as their authors would write them: Cedar and TOML.

use std::fmt::Write;

use super::{
    Line,
    policy::{Book, Facts, Place, Rule, Test, What, Who},
};

/// Teams that every catalogue declares.
pub const TEAMS: [&str; 2] = ["red", "blue"];
/// Groups that every catalogue declares.
pub const GROUPS: [&str; 2] = ["g", "h"];

impl Book {
    /// The policies.
    #[must_use]
    pub fn cedar(&self) -> String {
        self.rules.iter().map(|rule| rule.cedar(&self.facts)).collect()
    }
}

impl Facts {
    /// The catalogue.
    #[must_use]
    pub fn toml(&self) -> String {
        let mut text = String::new();
        for team in TEAMS {
            let _ = writeln!(text, "[[team]]\nname = \"{team}\"");
        }
        for group in GROUPS {
            let _ = writeln!(text, "[[group]]\nname = \"{group}\"\nmembers = [\"cy\"]");
        }
        for (upstream, actions) in &self.actions {
            let _ = writeln!(text, "[[upstream]]\nname = \"{upstream}\"\nactions = {actions:?}");
        }
        for one in &self.resources {
            let (upstream, name) = (one.upstream, one.name);
            let _ = writeln!(text, "[[resource]]\nupstream = \"{upstream}\"\nname = \"{name}\"");
            let words =
                [("id", one.id.as_deref()), ("tier", one.tier), ("owner", one.owner)].into_iter();
            for (key, word) in words.filter_map(|(key, word)| Some((key, word?))) {
                let _ = writeln!(text, "{key} = \"{word}\"");
            }
            let _ = writeln!(text, "labels = {:?}", Vec::from_iter(&one.labels));
        }
        for known in &self.agents {
            let teams = Vec::from_iter(&known.teams);
            let _ = writeln!(text, "[[agent]]\nmatch = \"{}\"\nteams = {teams:?}", known.pattern);
            if let Some(trust) = known.trust {
                let _ = writeln!(text, "trust = {trust}");
            }
        }
        for (person, teams) in &self.persons {
            let teams = Vec::from_iter(teams);
            let _ = writeln!(text, "[[person]]\nid = \"{person}\"\nteams = {teams:?}");
        }
        text
    }
}

impl Rule {
    /// The policy, on one line.
    #[must_use]
    pub fn cedar(&self, facts: &Facts) -> String {
        let who = match self.who {
            Who::Anybody => "principal".to_owned(),
            Who::Team(team) => format!("principal in {}", entity("Team", team)),
            Who::Agent(name) => format!("principal == {}", entity("Agent", name)),
        };
        let action = |name: &&str| entity("Action", name);
        let what = match &self.what {
            What::Anything => "action".to_owned(),
            What::Group(group) => format!("action in {}", action(group)),
            What::One(name) => format!("action == {}", action(name)),
            What::Several(names) => {
                format!("action in [{}]", names.iter().map(action).collect::<Vec<_>>().join(", "))
            }
        };
        let place = match self.place {
            Place::Anywhere => "resource".to_owned(),
            Place::Upstream(name) => format!("resource in {}", entity("Upstream", name)),
            Place::Org(upstream, org) => {
                format!("resource in {}", entity("Org", &format!("{upstream}:{org}")))
            }
            Place::Resource(upstream, name) => {
                let id = facts.listed(upstream, name).and_then(|listed| listed.id.clone());
                let id = id.unwrap_or_else(|| format!("{upstream}:{name}"));
                format!("resource == {}", entity("Resource", &id))
            }
        };
        let effect = if self.forbids { "forbid" } else { "permit" };
        let opt_out = if self.opts_out { " @allow_direct(\"why\")" } else { "" };
        let mut text = format!("@id(\"{}\"){opt_out} {effect} ({who}, {what}, {place})", self.id);
        let when = self.when.iter().map(|test| ("when", test));
        for (word, test) in when.chain(self.unless.iter().map(|test| ("unless", test))) {
            let _ = write!(text, " {word} {{ {} }}", test.cedar());
        }
        text + ";\n"
    }
}

impl Test {
    fn cedar(&self) -> String {
        let join = |tests: &[Self], sign: &str| {
            format!("({})", tests.iter().map(Self::cedar).collect::<Vec<_>>().join(sign))
        };
        match self {
            Self::TtlAtMost(most) => format!("context.ttl <= {most}"),
            Self::RefBegins(text) => format!("(context has ref && context.ref like \"{text}*\")"),
            Self::RefIs(text) => format!("(context has ref && context.ref == \"{text}\")"),
            Self::Tier(tier) => format!("(resource has tier && resource.tier == \"{tier}\")"),
            Self::Label(label) => format!("resource.labels.contains(\"{label}\")"),
            Self::Owner(team) => {
                format!("(resource has owner && resource.owner == {})", entity("Team", team))
            }
            Self::HasPerson => "context has person".to_owned(),
            Self::PersonIs(name) => {
                format!("(context has person && context.person == {})", entity("Person", name))
            }
            Self::PersonIn(team) => {
                format!("(context has person && context.person in {})", entity("Team", team))
            }
            Self::DepthAtMost(most) => format!("context.depth <= {most}"),
            Self::PassedOnBy(name) => {
                format!("context.delegators.contains({})", entity("Agent", name))
            }
            Self::TrustAtLeast(least) => format!("principal.trust >= {least}"),
            Self::AgentIn(team) => format!("principal in {}", entity("Team", team)),
            Self::ByGateway => "context.delivery == \"gateway\"".to_owned(),
            Self::BringsFile(folder) => {
                format!("(context has file && context.file like \"{folder}/*\")")
            }
            Self::Calls(method) => {
                format!("(context has method && context.method == \"{method}\")")
            }
            Self::Since(time) => {
                let time = jiff::Timestamp::from_second(*time).unwrap();
                format!("context.now >= datetime(\"{time}\")")
            }
            Self::ApprovedBy(group) => {
                format!("context.approvals.contains({})", entity("Group", group))
            }
            Self::Overflows => "context.ttl * 9223372036854775807 > 0".to_owned(),
            Self::Not(test) => format!("!({})", test.cedar()),
            Self::All(tests) => join(tests, " && "),
            Self::Any(tests) => join(tests, " || "),
        }
    }
}

fn entity(kind: &str, name: &str) -> String {
    format!("Jeton::{kind}::\"{name}\"")
}

impl Line {
    /// The text form.
    #[must_use]
    pub fn text(&self) -> String {
        let actions = self.actions.iter().copied().collect::<Vec<_>>().join(",");
        let limit = self.reference.map_or(String::new(), |reference| format!(" ref={reference}"));
        format!("{}:{} {actions}{limit}", self.upstream, self.resource)
    }
}

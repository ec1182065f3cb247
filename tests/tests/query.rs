//! Queries of a long log against the plain way: reading all of it.

use std::{collections::BTreeMap, fs, sync::Arc};

use jeton_client::{EntryFilter as Asked, PageOf};
use jeton_domain::{
    audit::{Entry, EntryFilter, Outcome, Resources},
    decision::PolicyId,
    pattern::Pattern,
    principal::PrincipalId,
    scope::{Action, Scope, Upstream},
    ttl::Timestamp,
};
use jeton_tests::{broker::Broker, eventually::within, generate};

/// Entries: two segments of the index and a part of a third.
const COUNT: u64 = 2 * 65_536 + 9_000;
/// Filters that are tried.
const FILTERS: usize = 36;

/// What bo's team owns. The last two have no entries: each names the upstream of one resource that has
/// some, and the name of another.
const OWNED: [&str; 6] = [
    "git:team-3/repo-07",
    "git:team-4/repo-01",
    "git:team-5/repo-02",
    "orders:team-6/shop",
    "orders:team-3/repo-11",
    "git:team-1/shop",
];

/// Makes bo one of a team that owns these.
fn own(catalogue: &std::path::Path) -> Arc<Resources> {
    let mut text = fs::read_to_string(catalogue).unwrap();
    text += "\n[[team]]\nname = \"some\"\n[[person]]\nid = \"spiffe://dev.jeton.local/person/bo\"\nteams = [\"some\"]\n";
    let mut resources = Resources::default();
    for place in OWNED {
        let Scope { upstream, resource, .. } = Scope::parse(&format!("{place} a:read")).unwrap();
        text += &format!(
            "[[resource]]\nupstream = \"{upstream}\"\nname = \"{resource}\"\nowner = \"some\"\n"
        );
        resources.0.entry(upstream).or_default().insert(resource);
    }
    fs::write(catalogue, text).unwrap();
    Arc::new(resources)
}

/// A filter, as it is asked for and as it is meant.
fn filter(dice: &mut generate::Dice, entries: &[Entry]) -> (Asked, EntryFilter) {
    let some = &entries[usize::try_from(dice.below(entries.len() as u64)).unwrap()];
    let facts = some.event.facts();
    let (mut asked, mut meant) = (Asked::default(), EntryFilter::default());
    for _ in 0..=dice.below(3) {
        match dice.below(11) {
            0 => meant.agent = facts.agent.cloned(),
            1 => meant.person = facts.person.cloned(),
            2 => meant.session = facts.session,
            3 => meant.grant = facts.grant,
            4 => meant.upstream = facts.scope.map(|scope| scope.upstream.clone()),
            5 => {
                let exact = facts.scope.map(|scope| scope.resource.to_string());
                let text = match dice.below(3) {
                    0 => Some(format!("team-{}/**", dice.below(10))),
                    1 => Some("**/repo-07".to_owned()),
                    _ => exact,
                };
                meant.resource = text.map(|text| Pattern::parse(&text).unwrap());
            }
            6 => meant.event = Some(some.event.word().to_owned()),
            7 => meant.outcome = Some(facts.outcome),
            8 => meant.policy = facts.policies.first().cloned(),
            9 => {
                let span = some.at.millis() - generate::BEGIN;
                meant.from = Some(Timestamp::from_millis(generate::BEGIN + span / 2));
            }
            _ => meant.until = Some(some.at),
        }
    }
    asked.agent = meant.agent.as_ref().map(PrincipalId::to_string);
    asked.person = meant.person.as_ref().map(PrincipalId::to_string);
    asked.session = meant.session.map(|id| id.to_string());
    asked.grant = meant.grant.map(|id| id.to_string());
    asked.upstream = meant.upstream.as_ref().map(Upstream::to_string);
    asked.resource = meant.resource.as_ref().map(Pattern::to_string);
    asked.action = meant.action.as_ref().map(Action::to_string);
    asked.event.clone_from(&meant.event);
    asked.outcome = meant.outcome.map(|outcome| Outcome::word(outcome).to_owned());
    asked.policy = meant.policy.as_ref().map(PolicyId::to_string);
    asked.since = meant.from.map(Timestamp::millis);
    asked.until = meant.until.map(Timestamp::millis);
    (asked, meant)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_finds_what_reading_the_whole_log_finds() {
    let mut entries = Vec::new();
    let mut owned = Arc::default();
    let broker = Broker::start_with(|data| {
        owned = own(&data.join("policies/catalogue.toml"));
        generate::store(&data.join("jeton.db"), 7, COUNT, |entry| entries.push(entry.clone()));
    });
    let (client, bo) = (broker.client("audrey").await, broker.client("bo").await);
    let generated = |index: &u64| *index < COUNT;
    let mut dice = generate::Dice::new(11);
    for number in 0..FILTERS {
        // The first ones while the index is still being made.
        let (asked, mut meant) = filter(&mut dice, &entries);
        let seen_by_bo = number % 2 == 1;
        meant.within = seen_by_bo.then(|| Arc::clone(&owned));
        let client = if seen_by_bo { &bo } else { &client };
        let wanted: Vec<u64> =
            entries.iter().filter(|entry| meant.matches(entry)).map(|entry| entry.index).collect();
        for oldest_first in [true, false] {
            let (mut found, mut token) = (Vec::new(), None);
            for _ in 0..3000 {
                let page = PageOf { size: 500, token };
                let page = client.list_entries(asked.clone(), oldest_first, page).await.unwrap();
                found.extend(page.items.iter().map(|entry| entry.index));
                token = page.next;
                // Enough to compare; whole lists of what fits little.
                if token.is_none() || found.len() > 1500 {
                    break;
                }
            }
            found.retain(generated);
            let expected: Vec<u64> = match oldest_first {
                true => wanted.iter().copied().take(found.len()).collect(),
                false => wanted.iter().rev().copied().take(found.len()).collect(),
            };
            assert_eq!(found, expected, "{number}: {asked:?}");
            assert!(token.is_some() || found.len() == wanted.len(), "{number}: {asked:?}");
        }
    }

    let indexed = async || {
        let summary = client.summarise(Asked::default(), "event", None).await.unwrap();
        (summary.looked_at >= COUNT).then_some(())
    };
    within(std::time::Duration::from_secs(60), "the index is made", indexed).await;
    let until = entries.last().map(|entry| entry.at.millis());
    let seen = [None, Some(&owned)];
    for (by, within) in ["event", "outcome", "agent", "resource", "policy"]
        .into_iter()
        .flat_map(|by| seen.map(|within| (by, within)))
    {
        let client = if within.is_some() { &bo } else { &client };
        for every in [None, Some(std::time::Duration::from_secs(3600))] {
            let asked = Asked {
                event: (by == "agent").then(|| "denied".to_owned()),
                until,
                ..Default::default()
            };
            let summary = client.summarise(asked.clone(), by, every).await.unwrap();
            let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
            for entry in &entries {
                let facts = entry.event.facts();
                let hidden = |own: &&Arc<Resources>| !facts.scope.is_some_and(|one| own.hold(one));
                if within.as_ref().is_some_and(hidden)
                    || Some(entry.at.millis()) >= until
                    || (by == "agent" && entry.event.word() != "denied")
                {
                    continue;
                }
                let values = match by {
                    "event" => vec![entry.event.word().to_owned()],
                    "outcome" => vec![facts.outcome.word().to_owned()],
                    "agent" => facts.agent.iter().map(ToString::to_string).collect(),
                    "resource" => {
                        facts.scope.iter().map(|scope| scope.resource.to_string()).collect()
                    }
                    _ => facts.policies.iter().map(ToString::to_string).collect(),
                };
                for value in values {
                    *wanted.entry(value).or_default() += 1;
                }
            }
            let mut sums: BTreeMap<String, u64> = BTreeMap::new();
            for (value, count) in summary.parts.iter().flat_map(|part| &part.counts) {
                *sums.entry(value.clone()).or_default() += count;
            }
            assert_eq!(sums, wanted, "{by} {every:?}");
            assert_eq!(every.is_none(), summary.parts.len() == 1, "{by} {every:?}");
        }
    }
    let error = client.summarise(Asked::default(), "grant", None).await.unwrap_err().to_string();
    assert!(error.contains("`grant` can't be counted by; there are agent, person"), "{error}");
    let second = Some(std::time::Duration::from_secs(1));
    let error = client.summarise(Asked::default(), "event", second).await.unwrap_err().to_string();
    assert!(error.contains("more than 400 parts"), "{error}");
}

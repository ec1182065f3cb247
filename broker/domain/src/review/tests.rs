//! What a reviewer may say, and what comes of it.

use proptest::prelude::*;

use super::*;

const PAY: &str = "git:acme/pay contents:write ref=agent/*";

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

fn seconds(count: u32) -> Ttl {
    Ttl::from_seconds(count).unwrap()
}

fn bounds() -> Bounds {
    let within = ["git:acme/* contents:write ref=agent/*", "orders:acme/* orders:read"];
    let within = within.iter().map(|line| ScopeBound::parse(line).unwrap()).collect();
    Bounds { within, ttl: seconds(300), grants: Some(3) }
}

fn said(verdict: Verdict, scope: Option<&str>, ttl: Option<u32>) -> Said {
    Said {
        verdict,
        request_hash: RequestHash::new("h"),
        scope: scope.map(|text| Scope::parse(text).unwrap()),
        ttl: ttl.map(seconds),
        reason: Words::new("read it"),
    }
}

fn weighed(asked: &str, ttl: u32, said: &Said) -> Result<Finding, Beyond> {
    let (hash, scope) = (RequestHash::new("h"), scope(asked));
    let asked = Asked { hash: &hash, scope: &scope, ttl: seconds(ttl), lifts_all: true };
    weigh(asked, said, &bounds(), 0)
}

#[test]
fn a_yes_is_for_just_what_was_asked_and_within_the_bounds() {
    let yes = said(Verdict::Approve, None, None);
    assert_eq!(weighed(PAY, 300, &yes), Ok(Finding::Approve));
    assert_eq!(
        weighed(PAY, 300, &said(Verdict::Approve, Some(PAY), Some(300))),
        Ok(Finding::Approve)
    );
    let main = "git:acme/pay contents:write ref=main";
    assert_eq!(weighed(main, 300, &yes), Err(Beyond::Scope(main.into())));
    assert_eq!(weighed(PAY, 301, &yes), Err(Beyond::Life { wanted: 301, most: 300 }));
    for (scope, ttl) in [
        (Some(main), None),
        (None, Some(299)),
        (Some("git:acme/pay contents:write ref=agent/x"), None),
    ] {
        assert_eq!(weighed(PAY, 300, &said(Verdict::Approve, scope, ttl)), Err(Beyond::Changed));
    }
    let mute = Said { reason: Words::new(" "), ..yes.clone() };
    assert_eq!(weighed(PAY, 300, &mute), Err(Beyond::NoReason));
    let other = Said { request_hash: RequestHash::new("i"), ..yes.clone() };
    assert_eq!(weighed(PAY, 300, &other), Err(Beyond::OtherRequest));
    let (hash, scope) = (RequestHash::new("h"), scope(PAY));
    let asked = Asked { hash: &hash, scope: &scope, ttl: seconds(1), lifts_all: false };
    assert_eq!(weigh(asked, &yes, &bounds(), 2), Ok(Finding::Approve), "people lift the rest");
    assert_eq!(weigh(asked, &yes, &bounds(), 3), Err(Beyond::Count(3)));
}

#[test]
fn an_offer_is_less_than_what_was_asked_and_within_the_bounds() {
    let narrow = |scope, ttl| said(Verdict::Narrow, scope, ttl);
    let less = "git:acme/pay contents:write ref=agent/x";
    let offered = |text: &str, ttl| {
        Ok(Finding::Narrow { within: ScopeBound::parse(text).unwrap(), ttl: seconds(ttl) })
    };
    assert_eq!(weighed(PAY, 300, &narrow(Some(less), None)), offered(less, 300));
    assert_eq!(weighed(PAY, 900, &narrow(None, Some(60))), offered(PAY, 60));
    // What is asked may be beyond the bounds; what is offered may not.
    let all = "git:acme/pay contents:write";
    assert_eq!(weighed(all, 300, &narrow(Some(less), None)), offered(less, 300));
    let main = "git:acme/pay contents:write ref=main";
    assert_eq!(weighed(all, 300, &narrow(Some(main), None)), Err(Beyond::Scope(main.into())));
    assert_eq!(
        weighed(PAY, 900, &narrow(Some(less), None)),
        Err(Beyond::Life { wanted: 900, most: 300 })
    );
    for wider in
        [main, all, "git:acme/api contents:write ref=agent/x", "orders:acme/pay orders:read"]
    {
        assert_eq!(weighed(PAY, 300, &narrow(Some(wider), None)), Err(Beyond::Wider(wider.into())));
    }
    assert_eq!(weighed(PAY, 60, &narrow(Some(less), Some(61))), Err(Beyond::Longer(61)));
    for (scope, ttl) in [(None, None), (Some(PAY), None), (Some(PAY), Some(300))] {
        assert_eq!(weighed(PAY, 300, &narrow(scope, ttl)), Err(Beyond::NothingNarrower));
    }
    let (hash, scope) = (RequestHash::new("h"), scope(PAY));
    let asked = Asked { hash: &hash, scope: &scope, ttl: seconds(300), lifts_all: false };
    assert_eq!(weigh(asked, &narrow(Some(less), None), &bounds(), 0), Err(Beyond::OthersHold));
}

#[test]
fn a_name_is_a_word_and_no_callers() {
    let name = ReviewerName::parse("diff-bot").unwrap();
    assert_eq!((name.as_str(), name.principal().as_str()), ("diff-bot", "reviewer:diff-bot"));
    assert!(is_reviewer(name.principal()));
    assert!(!is_reviewer(&PrincipalId::parse("person:reviewer:x").unwrap()));
    for odd in ["", "a b", "a/b", "a:b", &"x".repeat(65)] {
        assert!(ReviewerName::parse(odd).is_err(), "{odd}");
    }
}

proptest! {
    // Why so many: most of what is said is refused, and what is let through is what counts.
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn whatever_a_reviewer_says_it_never_gives_more_than_was_asked_or_than_it_may(
        (resource, wanted) in (0_usize..3, 0_usize..3),
        (asked_ref, offered_ref) in (0_usize..5, 0_usize..5),
        (asked_ttl, offered_ttl) in (1_u32..600, proptest::option::of(1_u32..600)),
        (verdict, action, given) in (0_usize..3, 0_usize..3, 0_u32..6),
    ) {
        let part = |list: &[&'static str], at: usize| list.get(at).copied().unwrap_or_default();
        let (resources, actions) = (["acme/pay", "acme/api", "evil/pay"], ["contents:read", "contents:write", "contents:admin"]);
        let refs = ["", " ref=agent/*", " ref=agent/x", " ref=main", " ref=**"];
        // No ref limits what is read.
        let text = |resource, action, git_ref| {
            let git_ref = if action == 0 { 0 } else { git_ref };
            format!("git:{} {}{}", part(&resources, resource), part(&actions, action), part(&refs, git_ref))
        };
        let asked_scope = scope(&text(0, wanted, asked_ref));
        let offered = scope(&text(resource, action, offered_ref));
        let verdict = [Verdict::Approve, Verdict::Narrow, Verdict::Escalate][verdict];
        let said = Said { scope: Some(offered), ttl: offered_ttl.map(seconds), ..said(verdict, None, None) };
        let hash = RequestHash::new("h");
        let asked = Asked { hash: &hash, scope: &asked_scope, ttl: seconds(asked_ttl), lifts_all: true };
        let given_scope = match weigh(asked, &said, &bounds(), given) {
            Ok(Finding::Approve) => {
                prop_assert!(verdict == Verdict::Approve && asked_ttl <= 300 && given < 3);
                just(&asked_scope).unwrap()
            }
            Ok(Finding::Narrow { within, ttl }) => {
                prop_assert!(verdict == Verdict::Narrow && ttl <= seconds(asked_ttl.min(300)) && given < 3);
                within
            }
            Ok(Finding::Escalate) => { prop_assert!(verdict == Verdict::Escalate); return Ok(()); }
            Err(_) => return Ok(()),
        };
        prop_assert!(just(&asked_scope).unwrap().contains(&given_scope));
        prop_assert!(bounds().within.iter().any(|line| line.contains(&given_scope)));
    }
}

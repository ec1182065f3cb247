use super::*;
use proptest::prelude::*;
use serde_json::json;

fn one(text: &str) -> ClaimRule {
    ClaimRule { shape: Shape::One, value: WantedValue::Exact(text.to_owned()) }
}

fn like(text: &str) -> ClaimRule {
    ClaimRule { shape: Shape::One, value: WantedValue::Matches(NamePattern::parse(text).unwrap()) }
}

fn any(text: &str) -> ClaimRule {
    ClaimRule { shape: Shape::AnyOf, value: WantedValue::Exact(text.to_owned()) }
}

fn mapping(rules: &[(&str, ClaimRule)], template: &str) -> Mapping {
    Mapping {
        claims: rules.iter().map(|(claim, rule)| ((*claim).to_owned(), rule.clone())).collect(),
        kind: PrincipalKind::Workload,
        principal: Template::parse(template).unwrap(),
    }
}

fn name(mapping: &Mapping, claims: Json) -> Option<String> {
    mapping.principal(claims.as_object().unwrap()).map(|id| id.to_string())
}

#[test]
fn claims_match_whole_and_by_their_shape() {
    let github = mapping(
        &[
            ("repository", like("acme/*")),
            ("ref_protected", one("true")),
            ("run_attempt", one("1")),
        ],
        "workload:github/{repository}",
    );
    let good = json!({"repository": "acme/api", "ref_protected": true, "run_attempt": 1});
    assert_eq!(name(&github, good.clone()).as_deref(), Some("workload:github/acme/api"));
    for (claim, value) in [
        ("repository", json!("acme/api/x")),
        ("repository", json!("xacme/api")),
        ("repository", json!("acme/api\n")),
        ("repository", json!("acme/..")),
        ("repository", json!("acme/")),
        ("repository", json!("acme/аpi")),
        ("repository", json!(["acme/api"])),
        ("repository", json!(null)),
        ("ref_protected", json!(false)),
        ("ref_protected", json!([true])),
        ("run_attempt", json!(1.0)),
        ("run_attempt", json!("01")),
    ] {
        let mut bad = good.clone();
        bad[claim] = value;
        assert_eq!(name(&github, bad.clone()), None, "{bad}");
    }
    let mut missing = good;
    missing.as_object_mut().unwrap().remove("repository");
    assert_eq!(name(&github, missing), None);
}

#[test]
fn a_list_fits_only_where_the_configuration_asks_for_one() {
    let listed = mapping(&[("groups", any("ops"))], "{email}");
    let single = mapping(&[("groups", one("ops"))], "{email}");
    let list = json!({"groups": ["dev", "ops"], "email": "ana@acme.dev"});
    let text = json!({"groups": "ops", "email": "ana@acme.dev"});
    assert_eq!(name(&listed, list.clone()).as_deref(), Some("ana@acme.dev"));
    assert_eq!(name(&listed, text.clone()), None);
    assert_eq!(name(&single, text).as_deref(), Some("ana@acme.dev"));
    assert_eq!(name(&single, list), None);
    assert_eq!(name(&listed, json!({"groups": ["devops"], "email": "ana@acme.dev"})), None);
}

#[test]
fn a_claim_becomes_a_spiffe_id_only_if_the_configuration_says_so() {
    let token = json!({"sub": "spiffe://acme.dev/agent/one"});
    assert_eq!(name(&mapping(&[], "{sub}"), token.clone()), None);
    assert_eq!(name(&mapping(&[("sub", like("**"))], "{sub}"), token.clone()), None);
    let svid = mapping(&[("sub", like("spiffe://acme.dev/agent/*"))], "{sub}");
    assert_eq!(name(&svid, token).as_deref(), Some("spiffe://acme.dev/agent/one"));
    assert_eq!(name(&svid, json!({"sub": "spiffe://evil.dev/agent/one"})), None);
    let made = mapping(&[], "spiffe://acme.dev/ci/{project}");
    assert_eq!(name(&made, json!({"project": "a"})).as_deref(), Some("spiffe://acme.dev/ci/a"));
    assert_eq!(name(&made, json!({"project": "a:b"})), None);
}

#[test]
fn two_tokens_never_make_one_name() {
    let two = mapping(&[], "ci/{project}/{env}");
    assert_eq!(name(&two, json!({"project": "a/b", "env": "c"})).as_deref(), Some("ci/a/b/c"));
    assert_eq!(name(&two, json!({"project": "a", "env": "b/c"})), None);
    assert_eq!(name(&two, json!({"project": "", "env": "c"})), None);
    for text in ["{a}{b}", "{a}-{b}", "x/{a}:{b}/y"] {
        assert_eq!(Template::parse(text), Err(TemplateError::Touching(text.into())), "{text}");
    }
}

#[test]
fn a_template_with_loose_braces_or_strange_letters_is_refused() {
    for text in ["", "{}", "a{}b"] {
        assert_eq!(Template::parse(text), Err(TemplateError::Empty(text.into())), "{text}");
    }
    for text in ["{a", "a}", "{a{b}", "{a}}", "}{"] {
        assert_eq!(Template::parse(text), Err(TemplateError::Braces(text.into())), "{text}");
    }
    assert_eq!(Template::parse("a b{c}"), Err(TemplateError::Character("a b{c}".into())));
}

proptest! {
    #[test]
    fn no_text_crashes_the_parser(text in "[{}a/ -]{0,20}|\\PC{0,20}", value in "\\PC{0,20}") {
        if let Ok(template) = Template::parse(&text) {
            let _ = template.fill(json!({"a": value}).as_object().unwrap());
        }
    }

    #[test]
    fn different_values_make_different_names(
        one in ("[ab/.:-]{1,5}", "[ab/.:-]{1,5}"), two in ("[ab/.:-]{1,5}", "[ab/.:-]{1,5}"),
    ) {
        prop_assume!(one != two);
        let template = mapping(&[], "x-{a}/y-{b}-z");
        let make = |(a, b): &(String, String)| name(&template, json!({"a": a, "b": b}));
        if let (Some(one), Some(two)) = (make(&one), make(&two)) {
            prop_assert_ne!(one, two);
        }
    }
}

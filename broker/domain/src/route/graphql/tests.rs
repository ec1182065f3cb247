use super::*;
use proptest::prelude::*;

fn body(text: &str) -> Json {
    Json::object(text.as_bytes()).unwrap()
}

fn request(document: &str, variables: &str) -> Json {
    let document = serde_json::to_string(document).unwrap();
    body(&format!("{{\"query\":{document},\"variables\":{variables}}}"))
}

fn read(document: &str) -> Result<Graphql, GraphqlError> {
    Graphql::read(request(document, "null"))
}

/// The kind and the fields, or why not.
fn told(document: &str) -> String {
    match read(document) {
        Ok(asked) => {
            let fields: Vec<_> = asked.fields.iter().map(String::as_str).collect();
            format!("{} {}", asked.kind.word(), fields.join(" "))
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_root_field_counts_wherever_it_stands() {
    for (document, wanted) in [
        ("{ viewer { login } }", "query viewer"),
        ("query { a: viewer { login } b: repository { id } }", "query repository viewer"),
        ("mutation M { x: createIssue { id } }", "mutation createIssue"),
        (
            "query Q { ...F } fragment F on Query { viewer { x } ...G } fragment G on Query { node }",
            "query node viewer",
        ),
        ("{ ... { a } ... on Query { b ... @include(if: false) { c } } }", "query a b c"),
        ("query A { a } query B { b } { c }", "query a b c"),
        ("{ a @skip(if: true) b @x(y: [1, {z: \"}\"}]) }", "query a b"),
        ("{ __typename __schema { types { name } } }", "query __schema"),
        ("{ __typename }", "query "),
        ("{ viewer: createIssue }", "query createIssue"),
        ("{ a # } mutation { b }\n c }", "query a c"),
        ("{ a(x: \"}\") b(x: \"\"\" } \\\"\"\" mutation { c } \"\"\") }", "query a b"),
        ("{ a(x: \"\\u007d\\\" } mutation { b }\") }", "query a"),
        ("{ ...F } fragment F on Query { a ...F }", "query a"),
        ("query query { query } ", "query query"),
        ("{ a } fragment Unused on Mutation { createIssue }", "query a"),
        ("query mutation { a }", "query a"),
    ] {
        assert_eq!(told(document), wanted, "{document}");
    }
}

#[test]
fn what_has_no_one_meaning_is_refused() {
    let many = |one: &str, count: usize| one.repeat(count);
    for (document, words) in [
        ("", "can't be parsed"),
        ("# nothing", "can't be parsed"),
        ("{ a", "is missing"),
        ("{ a } }", "ends nothing"),
        ("{ a ( }", "ends nothing"),
        ("{ }", "can't be parsed"),
        ("query { a } mutation { b }", "queries and mutations"),
        ("subscription { a }", "subscriptions"),
        ("query { a } subscription { b }", "subscriptions"),
        ("{ ...F }", "spreads the fragment `F`"),
        ("fragment F on Query { a }", "no operation"),
        ("{ ...F } fragment F on Query { a } fragment F on Query { b }", "two fragments"),
        ("query A { a } query A { b }", "two operations"),
        ("query($a: Int, $a: Int) { a }", "two variables"),
        ("{ a(x: 1, x: 2) }", "two arguments"),
        ("{ a(x: {y: 1, y: 2}) }", "two arguments"),
        ("{ a } type Query { a: Int }", "other than operations"),
        ("schema { query: Q } { a }", "other than operations"),
        ("extend type Query { a: Int } { a }", "other than operations"),
        ("\"about\" query { a }", "other than operations"),
        ("\"x\" fragment on T { a } { b }", "other than operations"),
        ("{ a # \r mutation }", "u{d}"),
        ("{ a # \u{2028} b\n }", "u{2028}"),
        ("{ a # \u{85} b\n }", "u{85}"),
        ("\u{feff}{ a }", "u{feff}"),
        ("{ a\0 }", "u{0}"),
        ("{ a(x: \"\u{7f}\") }", "u{7f}"),
        ("{ a(x: \"\n\") }", "can't be parsed"),
        ("{ a(x: \"\\ud800\") }", "can't be parsed"),
        ("{ \u{430} }", "can't be parsed"),
        ("{ a(x: $) }", "can't be parsed"),
        ("{ a . b }", "can't be parsed"),
        ("{ ... }", "can't be parsed"),
        ("mutations { a }", "can't be parsed"),
        ("QUERY { a }", "can't be parsed"),
        ("{ a } { b } ; ", "can't be parsed"),
        (&many("{ a }", GRAPHQL_OPERATIONS + 1), "operations"),
        (&format!("{{ {} }}", many("a ", GRAPHQL_ROOTS + 1)), "root fields"),
        (&format!("{{ {} }}", many("a", GRAPHQL_NAME + 1)), "characters"),
        (&format!("{{ a {{ {} }} }}", many("a ", GRAPHQL_TOKENS)), "tokens"),
    ] {
        let told = told(document);
        assert!(
            told.contains(words),
            "{:?}: {told}",
            document.chars().take(60).collect::<String>()
        );
    }
}

#[test]
fn nothing_overflows_the_stack_of_a_small_thread() {
    let deep = |one: &str, shut: &str, count: usize| one.repeat(count) + &shut.repeat(count);
    let documents = [
        deep("{a", "}", 300_000),
        deep("{...", "}", 300_000),
        format!("{{a(x:{})}}", deep("[", "]", 300_000)),
        format!("{{a(x:{})}}", deep("{a:", "}", 300_000)),
        format!("query($a:{}){{a}}", deep("[", "]", 300_000)),
        deep("{a", "}", GRAPHQL_DEPTH),
        deep("{...", "}", GRAPHQL_DEPTH - 1).replacen("{...}", "{...{b}}", 1),
        format!("{{a(x:{})}}", deep("[", "]", GRAPHQL_DEPTH - 2)),
        format!("{{a(x:{})}}", deep("{a:", "}", GRAPHQL_DEPTH - 2).replacen("{a:}", "{}", 1)),
        format!("query($a:{}){{a}}", deep("[", "]", GRAPHQL_DEPTH - 1).replacen("[]", "[A]", 1)),
        format!("{{{}}}", "...A ".repeat(5_000)),
        format!("{{a{}}}", "@a ".repeat(9_000)),
        format!("{{a(x:1){}}}", "!".repeat(9_000)),
        format!("query({}){{a}}", "$a:A! ".repeat(2_000)),
        "{".repeat(1_000_000),
        "a:".repeat(500_000),
        "...".repeat(300_000),
        "\"".repeat(1_000_000),
        "fragment ".repeat(100_000),
        "{a}".repeat(9_000),
    ];
    let reading =
        move || documents.iter().map(|document| read(document).is_ok()).collect::<Vec<_>>();
    // What a thread of tokio has is 2 MiB; this build is the slow one, with the largest frames.
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(reading).unwrap();
    let good = thread.join().unwrap();
    assert_eq!(good[..10], [[false; 5], [true; 5]].concat(), "too deep, and as deep as may be");
}

#[test]
fn a_request_has_one_form() {
    for (text, words) in [
        ("{}", "no text in `query`"),
        (r#"{"query":null}"#, "no text in `query`"),
        (r#"{"query":["{ a }"]}"#, "no text in `query`"),
        (
            r#"{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"x"}}}"#,
            "extensions.persistedQuery",
        ),
        (r#"{"query":"{ a }","extensions":{"persistedQuery":{}}}"#, "extensions.persistedQuery"),
        (r#"{"query":"{ a }","extensions":{"x":1}}"#, "extensions.x"),
        (r#"{"query":"{ a }","extensions":[]}"#, "`extensions` of the request is not an object"),
        (r#"{"query":"{ a }","id":"x"}"#, "the key `id`"),
        (r#"{"query":"{ a }","documentId":"x"}"#, "the key `documentId`"),
        (r#"{"Query":"{ a }"}"#, "the key `Query`"),
        (r#"{"query":"{ a }","variables":"{}"}"#, "`variables` of the request is not an object"),
        (r#"{"query":"{ a }","variables":[]}"#, "`variables` of the request is not an object"),
        (
            r#"{"query":"{ a }","operationName":1}"#,
            "`operationName` of the request is not a string",
        ),
        (r#"{"query":"query A { a }","operationName":"B"}"#, "no operation `B`"),
        (r#"{"query":"query A { a }","operationName":""}"#, "no operation ``"),
    ] {
        let error = Graphql::read(body(text)).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    let whole = r#"{"query":"query A { a } query B { b }","operationName":"A","variables":null,"extensions":{"clientLibrary":{"name":"x"}}}"#;
    assert_eq!(Graphql::read(body(whole)).unwrap().fields.len(), 2, "both, whichever is named");
    let bare = r#"{"\u0071uery":"{ a }","variables":{},"operationName":null,"extensions":null}"#;
    assert_eq!(Graphql::read(body(bare)).unwrap().fields.len(), 1);
}

#[test]
fn an_argument_is_what_its_upstream_will_read() {
    let of = |document: &str, variables: &str, place: &str| {
        let asked = Graphql::read(request(document, variables)).unwrap();
        let place = Dotted::parse(place).unwrap();
        let all: BTreeSet<_> = asked.roots().map(|root| asked.argument(root, &place)).collect();
        all.into_iter().collect::<Vec<_>>()
    };
    let one = |text: &str| vec![Some(text.to_owned())];
    for (document, variables, place, wanted) in [
        ("{ r(o: \"acme\") }", "{}", "o", one("acme")),
        ("{ r(o: \"acme\"), }", "{}", "n", vec![None]),
        ("{ r(n: 7) }", "{}", "n", one("7")),
        ("{ r(n: 7 # 8\n) }", "{}", "n", one("7")),
        ("{ r(o: \"acme\" # x\n, p: 1) }", "{}", "o", one("acme")),
        ("{ r(n: -7) }", "{}", "n", vec![None]),
        ("{ r(n: 7.0) }", "{}", "n", vec![None]),
        ("{ r(o: ACME) }", "{}", "o", vec![None]),
        ("{ r(o: [\"acme\"]) }", "{}", "o", vec![None]),
        ("{ r(o: null) }", "{}", "o", vec![None]),
        ("{ r(o: \"ac\\u006de\") }", "{}", "o", vec![None]),
        ("{ r(o: \"\"\"acme\"\"\") }", "{}", "o", vec![None]),
        ("query($o: String!) { r(o: $o) }", r#"{"o":"acme"}"#, "o", one("acme")),
        ("query($o: String!) { r(o: $o) }", r#"{"o":7}"#, "o", one("7")),
        ("query($o: String!) { r(o: $o) }", "{}", "o", vec![None]),
        ("query($o: String = \"acme\") { r(o: $o) }", "{}", "o", one("acme")),
        ("query($o: String = \"acme\") { r(o: $o) }", r#"{"o":"evil"}"#, "o", one("evil")),
        ("query($o: String = \"acme\") { r(o: $o) }", r#"{"o":null}"#, "o", vec![None]),
        ("{ r(o: $o) }", r#"{"o":"acme"}"#, "o", vec![None]),
        ("query($o: S = $p, $p: S = \"x\") { r(o: \"a\") }", "{}", "o", vec![]),
        ("query($i: I!) { r(input: $i) }", r#"{"i":{"o":"acme"}}"#, "input.o", one("acme")),
        ("query($o: I!) { r(input: {o: $o}) }", r#"{"o":"acme"}"#, "input.o", one("acme")),
        (
            "query($o: I!) { r(input: {x: {o: $o}}) }",
            r#"{"o":{"z":"acme"}}"#,
            "input.x.o.z",
            one("acme"),
        ),
        ("query($i: I = {o: \"acme\"}) { r(input: $i) }", "{}", "input.o", one("acme")),
        ("query($i: I = {o: \"acme\"}) { r(input: $i) }", r#"{"i":{}}"#, "input.o", vec![None]),
        ("{ a: r(o: \"x\") b: r(o: \"y\") }", "{}", "o", vec![Some("x".into()), Some("y".into())]),
        ("{ r(o: \"x\") s }", "{}", "o", vec![None, Some("x".into())]),
        (
            "query A($o: S = \"x\") { ...F } query B($o: S = \"y\") { ...F } fragment F on Q { r(o: $o) }",
            "{}",
            "o",
            vec![Some("x".into()), Some("y".into())],
        ),
    ] {
        if wanted.is_empty() {
            assert!(Graphql::read(request(document, variables)).is_err(), "{document}");
            continue;
        }
        assert_eq!(of(document, variables, place), wanted, "{document} {variables}");
    }
}

/// The kinds and root fields by another parser, fragments followed.
fn by_others(document: &str) -> Option<(BTreeSet<&'static str>, BTreeSet<String>)> {
    use graphql_parser::query::{Definition, OperationDefinition, Selection, parse_query};
    let parsed = parse_query::<String>(document).ok()?.into_static();
    let mut fragments = BTreeMap::new();
    let (mut kinds, mut todo, mut seen, mut fields) =
        (BTreeSet::new(), vec![], BTreeSet::new(), BTreeSet::new());
    for definition in parsed.definitions {
        match definition {
            Definition::Fragment(one) => drop(fragments.insert(one.name, one.selection_set)),
            Definition::Operation(operation) => {
                let (kind, set) = match operation {
                    OperationDefinition::SelectionSet(set) => ("query", set),
                    OperationDefinition::Query(one) => ("query", one.selection_set),
                    OperationDefinition::Mutation(one) => ("mutation", one.selection_set),
                    OperationDefinition::Subscription(one) => ("subscription", one.selection_set),
                };
                kinds.insert(kind);
                todo.push(set);
            }
        }
    }
    while let Some(set) = todo.pop() {
        for selection in set.items {
            match selection {
                Selection::Field(field) => drop(fields.insert(field.name)),
                Selection::InlineFragment(one) => todo.push(one.selection_set),
                Selection::FragmentSpread(one) => {
                    if seen.insert(one.fragment_name.clone()) {
                        todo.push(fragments.get(&one.fragment_name)?.clone());
                    }
                }
            }
        }
    }
    fields.remove("__typename");
    Some((kinds, fields))
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "{ a }",
    "{ b { c } }",
    "query",
    "mutation",
    "fragment",
    "on",
    "Q",
    "a",
    "b",
    "A",
    "...",
    "...A",
    "... on Q { d }",
    ":",
    "$",
    "$a",
    "=",
    "@",
    "@x",
    "!",
    "\"\"",
    "\"}\"",
    "\"\"\"",
    "\"",
    "\\",
    "#",
    "# }\n",
    "\n",
    "\r\n",
    ",",
    "1",
    "-1",
    "1.5",
    "null",
    "true",
    "(a: 1)",
    "(a: {b: [\"}\"]})",
    "x: a",
    "fragment A on Q { e }",
    "query A($a: Int = 1) { f }",
    "|",
    "&",
    ".",
    "subscription",
    "__typename",
];

fn document() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(PIECES);
    let free = proptest::collection::vec(piece.clone(), 0..24).prop_map(|all| all.join(" "));
    let set = proptest::collection::vec(piece, 0..8).prop_map(|all| all.join(" "));
    let sound = (set.clone(), set)
        .prop_map(|(one, two)| format!("query {{ a {one} }} fragment A on Q {{ b {two} }}"));
    prop_oneof![free, sound]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_read_is_what_another_parser_reads(document in document()) {
        if let (Ok(asked), Some((kinds, fields))) = (read(&document), by_others(&document)) {
            prop_assert_eq!(kinds, [asked.kind.word()].into());
            prop_assert_eq!(asked.fields, fields);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[{}()\\[\\]a$:@!.\"\\\\#\n\r 1-]{0,40}|.{0,60}") {
        let _ = read(&text);
    }
}

//! Every RPC and every HTTP endpoint, with each text that may name a thing: the caller's own one,
//! another session's, another agent's, one that was taken back, one that never was, and nonsense.
//! The table of answers is kept in `golden/`: nothing foreign may look other than absent.

use std::fmt::Write as _;

use jeton_broker::{
    api::rpc_table::{LOG, RESOURCE_METADATA, RPCS, STATUS, Speaks},
    http::{
        oauth::{INTROSPECT, KEYS, RESOURCES, REVOKE, SERVER, TOKEN},
        ssf::{CONFIGURATION, EVENTS},
    },
};
use jeton_proto::v1::{
    CloseSessionRequest, ExplainRequest, IntrospectRequest, ListApprovalsRequest,
    ListBudgetsRequest, ListEntriesRequest, ListGrantsRequest, ListSessionsRequest,
    OpenSessionRequest, Page, ReDecideRequest, RenewGrantRequest, RequestGrantRequest,
    RevokeGrantRequest, RevokeMatchingRequest, SummariseRequest, SurveyRequest, TailEntriesRequest,
    open_session_request::Binding,
};
use jeton_tests::{
    any_rpc::{self, Rpc},
    broker::{AGENT, Broker, Caller, opening, scope},
    golden,
};
use prost::Message;
use tonic::Status;
use tonic_types::StatusExt;

const READ: &str = "git:acme/api contents:read";
const AUDIENCE: &str = "https://git.dev.jeton.local";
const OTHER_AGENT: &str = "spiffe://dev.jeton.local/agent/review-7";

/// What a text field names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Grant,
    Session,
    Token,
    Agent,
    RequestId,
    Page,
}

/// Fields that name somebody's thing. What is not here must stand in [`PLAIN`].
const NAMING: &[(&str, &str, Names)] = &[
    ("SessionService/OpenSession", "agent", Names::Agent),
    ("SessionService/OpenSession", "parent", Names::Session),
    ("SessionService/OpenSession", "request_id", Names::RequestId),
    ("SessionService/GetSession", "id", Names::Session),
    ("SessionService/CloseSession", "id", Names::Session),
    ("SessionService/ListSessions", "agent", Names::Agent),
    ("GrantService/RequestGrant", "request_id", Names::RequestId),
    ("GrantService/ClaimGrant", "id", Names::Grant),
    ("GrantService/AwaitGrant", "id", Names::Grant),
    ("ApprovalService", "grant", Names::Grant),
    ("ApprovalService/WithdrawApproval", "by", Names::Agent),
    ("GrantService/RenewGrant", "id", Names::Grant),
    ("GrantService/ReleaseGrant", "id", Names::Grant),
    ("GrantService/GetGrant", "id", Names::Grant),
    ("GrantService/RevokeGrant", "id", Names::Grant),
    ("GrantService/ListBudgets", "session", Names::Session),
    ("GrantService/ListGrants", "session", Names::Session),
    ("GrantService/ListGrants", "agent", Names::Agent),
    ("GrantService/RevokeMatching", "session", Names::Session),
    ("GrantService/RevokeMatching", "agent", Names::Agent),
    ("GrantService/LiftStop", "stop.agent", Names::Agent),
    ("IntrospectionService/Introspect", "credential", Names::Token),
    ("AuditService/GetReceipt", "grant", Names::Grant),
    ("AuditService", "filter.agent", Names::Agent),
    ("AuditService", "filter.by", Names::Agent),
    ("AuditService", "filter.session", Names::Session),
    ("AuditService", "filter.grant", Names::Grant),
    ("PolicyService/Explain", "agent", Names::Agent),
    ("PolicyService/Survey", "agent", Names::Agent),
    ("", "page.token", Names::Page),
];

/// Fields that are words: what they may say is decided, but they are nobody's.
const PLAIN: &[&str] = &[
    "approved_by",
    "delegators",
    "request_hash",
    "hash",
    "glass",
    "words",
    "within.upstream",
    "within.resource",
    "within.actions",
    "within.ref",
    "task",
    "reason",
    "person",
    "certificate_sha256",
    "jwk_sha256",
    "audience",
    "policy",
    "by",
    "resource",
    "upstream",
    "scope.upstream",
    "scope.resource",
    "scope.actions",
    "scope.ref",
    "envelope.scopes.upstream",
    "envelope.scopes.resource",
    "envelope.scopes.actions",
    "envelope.scopes.ref",
    "stop.person",
    "stop.resource",
    "stop.upstream",
    "stop.by",
    "stop.reason",
    "filter.person",
    "filter.upstream",
    "filter.resource",
    "filter.action",
    "filter.event",
    "filter.outcome",
    "filter.policy_id",
];

/// Whose thing is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    OtherSessions,
    OtherAgents,
    Revoked,
    Absent,
    Malformed,
}

const WHOSE: [(Whose, &str); 6] = [
    (Whose::Own, "own"),
    (Whose::OtherSessions, "other session's"),
    (Whose::OtherAgents, "other agent's"),
    (Whose::Revoked, "revoked"),
    (Whose::Absent, "absent"),
    (Whose::Malformed, "malformed"),
];

/// Who calls: the agent with its session, the same without it, and others. The team owns resources that no
/// scene is about.
const CALLERS: [(&str, &str); 7] = [
    ("session", "agent"),
    ("agent", "agent"),
    ("orchestrator", "orchestrator"),
    ("verifier", "git-host"),
    ("team", "bo"),
    ("auditor", "audrey"),
    ("operator", "ana"),
];

struct World {
    broker: Broker,
    orchestrator: Caller,
    operator: Caller,
}

/// A session with a grant.
struct Scene {
    agent: Caller,
    session: String,
    grant: String,
    token: String,
    request_id: String,
}

impl World {
    async fn new() -> Self {
        let broker = Broker::start_with(|data| {
            let file = data.join("policies/catalogue.toml");
            let text = std::fs::read_to_string(&file).unwrap();
            let bo =
                "[[person]]\nid = \"spiffe://dev.jeton.local/person/bo\"\nteams = [\"platform\"]\n";
            std::fs::write(&file, format!("{text}\n{bo}")).unwrap();
        });
        let (orchestrator, operator) = (broker.as_("orchestrator").await, broker.as_("ana").await);
        Self { broker, orchestrator, operator }
    }

    async fn scene(&self, who: &str, name: &str) -> Scene {
        let request_id = format!("rq-{name}");
        let open = OpenSessionRequest {
            agent: if who == "agent" { AGENT } else { OTHER_AGENT }.into(),
            ..self.opens(who, &format!("open-{name}"))
        };
        let opened = self.orchestrator.sessions().open_session(open).await.unwrap().into_inner();
        let mut agent = self.broker.as_(who).await;
        agent.handle = Some(opened.handle);
        let answer = agent.requests_with_id(READ, &request_id).await.unwrap();
        Scene {
            agent,
            session: opened.session.unwrap().id,
            grant: answer.grant.unwrap().id,
            token: answer.credential.unwrap().secret,
            request_id,
        }
    }

    fn opens(&self, who: &str, request_id: &str) -> OpenSessionRequest {
        OpenSessionRequest {
            binding: Some(Binding::CertificateSha256(self.broker.thumbprint(who))),
            request_id: request_id.into(),
            ttl_seconds: 600,
            ..opening(&[READ])
        }
    }

    /// The text that names the thing, for a caller whose scene is given.
    async fn text(
        &self,
        names: Names,
        whose: Whose,
        place: &str,
        own: &Scene,
    ) -> Option<Vec<String>> {
        let other = match whose {
            Whose::OtherSessions => Some(self.scene("agent", &format!("{place}-2")).await),
            Whose::OtherAgents => Some(self.scene("agent-2", &format!("{place}-3")).await),
            Whose::Own | Whose::Revoked | Whose::Absent | Whose::Malformed => None,
        };
        let scene = other.as_ref().unwrap_or(own);
        if whose == Whose::Revoked {
            self.take_back(names, scene).await;
        }
        let one = match names {
            Names::Grant => scene.grant.clone(),
            Names::Session => scene.session.clone(),
            Names::Token => scene.token.clone(),
            Names::Agent => match whose {
                Whose::OtherSessions | Whose::Revoked => return None,
                Whose::OtherAgents => OTHER_AGENT.to_owned(),
                Whose::Absent => "spiffe://dev.jeton.local/agent/nobody".to_owned(),
                Whose::Own | Whose::Malformed => AGENT.to_owned(),
            },
            // A session has been asked for by the orchestrator, a grant by the agent.
            Names::RequestId => scene.request_id.clone(),
            Names::Page => return None,
        };
        Some(match whose {
            Whose::Malformed => vec![
                "x".to_owned(),
                format!("{one} "),
                format!("../{one}"),
                format!("{one}\n{one}"),
                one.to_uppercase() + "\u{202e}",
                "x".repeat(5000),
            ],
            Whose::Absent if names != Names::Agent => vec![absent(&one)],
            _ => vec![one],
        })
    }

    async fn take_back(&self, names: Names, scene: &Scene) {
        if names == Names::Session {
            let close = CloseSessionRequest { id: scene.session.clone(), ..Default::default() };
            self.operator.sessions().close_session(close).await.unwrap();
        } else {
            let revoke = RevokeGrantRequest { id: scene.grant.clone(), ..Default::default() };
            self.operator.grants().revoke_grant(revoke).await.unwrap();
        }
    }
}

/// The same text with its last letter changed: well formed, and nobody's.
fn absent(text: &str) -> String {
    let (last, rest) = (text.chars().last().unwrap(), &text[..text.len() - 1]);
    format!("{rest}{}", if last == 'a' { 'b' } else { 'a' })
}

/// A request that is good but for the field in question.
fn good(world: &World, path: &str, who: &str, own: &Scene) -> Vec<u8> {
    let reason = || "a test".to_owned();
    match path.rsplit('/').next().unwrap() {
        "OpenSession" => {
            world.opens(if who == "session" { "agent" } else { who }, "").encode_to_vec()
        }
        "RequestGrant" => RequestGrantRequest {
            scope: Some(scope(READ)),
            ttl_seconds: 600,
            reason: reason(),
            ..Default::default()
        }
        .encode_to_vec(),
        "ListBudgets" => {
            ListBudgetsRequest { scope: Some(scope(READ)), ..Default::default() }.encode_to_vec()
        }
        "RenewGrant" => {
            RenewGrantRequest { id: own.grant.clone(), ..Default::default() }.encode_to_vec()
        }
        "RevokeGrant" => {
            RevokeGrantRequest { reason: reason(), ..Default::default() }.encode_to_vec()
        }
        "RevokeMatching" => {
            RevokeMatchingRequest { reason: reason(), ..Default::default() }.encode_to_vec()
        }
        "Introspect" => {
            IntrospectRequest { audience: AUDIENCE.into(), ..Default::default() }.encode_to_vec()
        }
        "Explain" => {
            ExplainRequest { scope: Some(scope(READ)), ..Default::default() }.encode_to_vec()
        }
        "Summarise" => {
            SummariseRequest { by: "event".into(), ..Default::default() }.encode_to_vec()
        }
        "TailEntries" => {
            TailEntriesRequest { stop_at_end: true, ..Default::default() }.encode_to_vec()
        }
        _ => vec![],
    }
}

/// An answer in a few words.
fn words(answer: Result<usize, Status>) -> String {
    match answer {
        Ok(0) => "ok".to_owned(),
        Ok(_) => "rows".to_owned(),
        Err(status) => {
            let details = status.get_error_details();
            let reason = details.error_info().map_or("?", |info| info.reason.as_str()).to_owned();
            format!("{:?}/{reason}", status.code())
        }
    }
}

fn naming(rpc: &Rpc, field: &str) -> Option<Names> {
    let found = NAMING.iter().find(|(path, name, _)| rpc.path.contains(path) && *name == field);
    let plain = PLAIN.contains(&field);
    assert!(
        found.is_some() || plain,
        "{} {field}: say what it names, or that it names nothing",
        rpc.path
    );
    found.map(|(.., names)| *names)
}

/// The rows of one field or path: who gets which answers, those with the same ones on one line.
#[derive(Default)]
struct Rows(Vec<(String, Vec<String>)>);

impl Rows {
    fn add(&mut self, cells: String, caller: &str) {
        match self.0.iter_mut().find(|(known, _)| *known == cells) {
            Some((_, callers)) => callers.push(caller.to_owned()),
            None => self.0.push((cells, vec![caller.to_owned()])),
        }
    }

    fn write(&self, heading: &str, table: &mut String) {
        writeln!(table, "{heading}").unwrap();
        for (cells, callers) in &self.0 {
            writeln!(table, "  {}\n{cells}", callers.join(", ")).unwrap();
        }
    }
}

/// Adds a line: what one kind of thing is answered with.
fn cell(cells: &mut String, heading: &str, answers: Vec<String>) {
    let mut different: Vec<String> = Vec::new();
    for answer in answers {
        if !different.contains(&answer) {
            different.push(answer);
        }
    }
    writeln!(cells, "    {heading:<16} {}", different.join(" or ")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rpc_answers_to_each_kind_of_id_as_the_table_says() {
    let world = World::new().await;
    let mut table = String::new();
    let (mut number, mut named) = (0, Vec::new());
    for rpc in any_rpc::all() {
        for field in &rpc.texts {
            let Some(names) = naming(&rpc, &field.name) else { continue };
            named.push(names);
            if names == Names::Page {
                continue;
            }
            let mut rows = Rows::default();
            for (caller, who) in CALLERS {
                let mut cells = String::new();
                for (whose, heading) in WHOSE {
                    number += 1;
                    let place = number.to_string();
                    let own = world.scene("agent", &place).await;
                    let Some(texts) = world.text(names, whose, &place, &own).await else {
                        continue;
                    };
                    let client = match caller {
                        "session" => own.agent.clone(),
                        _ => world.broker.as_(who).await,
                    };
                    let mut answers = Vec::new();
                    for text in texts {
                        let request = field.set(&good(&world, &rpc.path, who, &own), &text);
                        answers.push(words(rpc.call(&client, request).await));
                    }
                    cell(&mut cells, heading, answers);
                }
                if matches!(caller, "session" | "agent" | "verifier" | "team") {
                    let of = |what: &str| {
                        let line = cells.lines().find(|line| line.trim_start().starts_with(what));
                        line.map(|line| line[20..].to_owned())
                    };
                    if matches!(names, Names::Grant | Names::Session) {
                        for foreign in ["other session's", "other agent's"] {
                            assert_eq!(of(foreign), of("absent"), "{} {}", rpc.path, field.name);
                        }
                    }
                }
                rows.add(cells, caller);
            }
            rows.write(&format!("{} {}", rpc.path, field.name), &mut table);
        }
    }
    assert!(named.len() > NAMING.len(), "every line of NAMING is a field: {named:?}");
    golden::holds("rpc_ids", &table);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_opens_its_own_list_for_its_own_caller_alone() {
    let world = World::new().await;
    let own = world.scene("agent", "1").await;
    own.agent.requests(READ).await.unwrap();
    let other = world.scene("agent-2", "2").await;
    other.agent.requests(READ).await.unwrap();
    let lists: Vec<_> = any_rpc::all()
        .into_iter()
        .filter(|rpc| rpc.texts.iter().any(|field| field.name == "page.token"))
        .collect();
    assert_eq!(lists.len(), 6, "lists, entries, what is decided again and what would be");
    // `page { size: 1 }` stands at another place in each request; typed messages know it.
    let first = |path: &str| {
        let page = Some(Page { size: 1, ..Default::default() });
        match path.rsplit('/').next().unwrap() {
            "ListGrants" => ListGrantsRequest { page, ..Default::default() }.encode_to_vec(),
            "ListSessions" => ListSessionsRequest { page, ..Default::default() }.encode_to_vec(),
            "ListApprovals" => ListApprovalsRequest { page }.encode_to_vec(),
            "ListEntries" => ListEntriesRequest { page, ..Default::default() }.encode_to_vec(),
            "Survey" => {
                SurveyRequest { page, agent: AGENT.into(), ..Default::default() }.encode_to_vec()
            }
            "ReDecide" => ReDecideRequest { page, ..Default::default() }.encode_to_vec(),
            other => panic!("{other}: say how its first page is asked for"),
        }
    };
    let mut table = String::new();
    let mut made = 0;
    for rpc in &lists {
        let mut rows = Rows::default();
        let field = rpc.texts.iter().find(|field| field.name == "page.token").unwrap();
        for (name, who) in CALLERS {
            let caller = match name {
                "session" => own.agent.clone(),
                _ => world.broker.as_(who).await,
            };
            let stranger = if name == "operator" { "audrey" } else { "ana" };
            let stranger = world.broker.as_(stranger).await;
            let base = first(&rpc.path);
            let mut cells = String::new();
            let tried = async |token: String| {
                vec![words(rpc.call(&caller, field.set(&base, &token)).await)]
            };
            if let Some(token) = rpc.next_page(&caller, base.clone()).await {
                made += 1;
                let flipped = absent(&token);
                cell(&mut cells, "own", tried(token).await);
                cell(&mut cells, "changed", tried(flipped).await);
            }
            for (heading, from) in
                [("other session's", &other.agent), ("other person's", &stranger)]
            {
                if let Some(token) = rpc.next_page(from, base.clone()).await {
                    cell(&mut cells, heading, tried(token).await);
                }
            }
            for list in lists.iter().filter(|list| list.path != rpc.path) {
                if let Some(token) = list.next_page(&caller, first(&list.path)).await {
                    let list = list.path.rsplit('/').next().unwrap();
                    cell(&mut cells, &format!("of {list}"), tried(token).await);
                }
            }
            cell(&mut cells, "malformed", tried("x".repeat(5000)).await);
            rows.add(cells, name);
        }
        rows.write(&format!("{} page.token", rpc.path), &mut table);
    }
    assert!(made >= 8, "there are second pages: {made}");
    golden::holds("page_tokens", &table);
}

/// A request over HTTP: the path, and the form that is posted, if it is.
struct Asked {
    path: String,
    form: Vec<(&'static str, String)>,
}

fn reads(path: impl Into<String>) -> Asked {
    Asked { path: path.into(), form: vec![] }
}

/// What is asked of an endpoint, by whose thing it names.
async fn asked(world: &World, path: &str, whose: Whose, place: &str) -> Vec<Asked> {
    let own = world.scene("agent", place).await;
    let token = async |whose| world.text(Names::Token, whose, place, &own).await.unwrap();
    let at = |name: &str| vec![reads(format!("{path}{name}"))];
    if path == INTROSPECT || path == REVOKE {
        let form = |token: String| Asked {
            path: path.to_owned(),
            form: vec![("token", token), ("resource", AUDIENCE.to_owned())],
        };
        return token(whose).await.into_iter().map(form).collect();
    }
    match (path, whose) {
        (TOKEN, Whose::Malformed) => vec![Asked {
            path: path.to_owned(),
            form: vec![
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange".to_owned()),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt".to_owned()),
                ("subject_token", "x.y.z".to_owned()),
                ("scope", READ.to_owned()),
            ],
        }],
        // Its own answers to tokens of every kind stand in the table of hostile tokens.
        (TOKEN, _) => vec![],
        (EVENTS, Whose::Malformed) => {
            vec![Asked { path: path.to_owned(), form: vec![("SET", "x.y.z".to_owned())] }]
        }
        // What it answers to event tokens stands in the tests of signals.
        (EVENTS, _) => vec![],
        (KEYS | SERVER | CONFIGURATION, Whose::Own) => at(""),
        (KEYS | SERVER | CONFIGURATION, _) => vec![],
        ("/status/", Whose::Own) => at("0"),
        ("/status/", Whose::Absent) => at("4000000000"),
        ("/status/", Whose::Malformed) => {
            ["-1", "x", "0x0", "00", "1e3", "99999999999999999999999", "..%2f0", ""]
                .iter()
                .flat_map(|name| at(name))
                .collect()
        }
        ("/log/", Whose::Own) => vec![reads("/log/checkpoint")],
        ("/log/", Whose::Absent) => vec![reads("/log/tile/0/999")],
        ("/log/", Whose::Malformed) => [
            "tile/0/1",
            "tile/0/x999/000",
            "tile/64/000",
            "tile/entries/-01",
            "tile/0/000.p/0",
            "x",
        ]
        .iter()
        .flat_map(|name| at(name))
        .collect(),
        (RESOURCES, Whose::Own) => at("git"),
        (RESOURCES, Whose::Absent) => at("nowhere"),
        (RESOURCES, Whose::Malformed) => {
            ["", "git%2f", "%00", "..", "git/git"].iter().flat_map(|name| at(name)).collect()
        }
        ("/status/" | "/log/" | RESOURCES, _) => vec![],
        (other, _) => panic!("{other}: say what it is asked"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_endpoint_answers_to_each_kind_of_id_as_the_table_says() {
    let world = World::new().await;
    let base = world.broker.env("JETON_ENDPOINT").to_owned();
    let mut table = String::new();
    let endpoints = RPCS.iter().filter(|row| row.speaks != Speaks::Grpc);
    let mut place = 0;
    for row in endpoints.chain([&LOG, &RESOURCE_METADATA, &STATUS]) {
        let mut rows = Rows::default();
        for who in [
            None,
            Some("agent"),
            Some("agent-2"),
            Some("orders"),
            Some("git-host"),
            Some("audrey"),
            Some("ana"),
        ] {
            let client = world.broker.http(who);
            let mut cells = String::new();
            for (whose, heading) in WHOSE {
                place += 1;
                let mut answers = Vec::new();
                for Asked { path, form } in asked(&world, row.path, whose, &place.to_string()).await
                {
                    let url = format!("{base}{path}");
                    let request = if form.is_empty() {
                        client.get(url)
                    } else {
                        client.post(url).form(&form)
                    };
                    let answer = request.send().await.unwrap();
                    let status = answer.status().as_u16();
                    let text = answer.text().await.unwrap_or_default();
                    let said: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                    let text = |name: &str| said[name].as_str().map(|text| format!(" {text}"));
                    let active = said["active"].as_bool().map(|is| format!(" active={is}"));
                    let said = text("error").or_else(|| text("err")).or(active);
                    let said = said.unwrap_or_default();
                    answers.push(format!("{status}{said}"));
                }
                if !answers.is_empty() {
                    cell(&mut cells, heading, answers);
                }
            }
            rows.add(cells, who.unwrap_or("nobody"));
        }
        rows.write(row.path, &mut table);
    }
    golden::holds("http_ids", &table);
}

//! Who may call what: one row an RPC. What has no row is refused before anything looks at it.

use crate::{
    http::{
        oauth::{INTROSPECT, KEYS, RESOURCES, REVOKE, SERVER, TOKEN},
        ssf::{CONFIGURATION, EVENTS},
    },
    signer::status::PATH,
};

/// What a caller must bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: liveness and the descriptions of the services.
    Nothing,
    /// An identity. What it may see, the operation decides.
    Identity,
    /// An identity and the handle of an open session, bound to a key that the caller proved.
    Session,
    /// An identity with the role verifier or operator.
    Verifier,
    /// An identity that sees a part of the log: the role auditor or operator, a session's handle, or a
    /// team that owns listed resources. Which part, the operation decides.
    LogView,
    /// An identity that stands in the body: the handler proves it.
    InBody,
}

/// How refusals are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// As gRPC does.
    Grpc,
    /// As problem details.
    Problem,
    /// As OAuth does.
    OAuth,
}

/// One RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RpcRow {
    /// Its path.
    pub path: &'static str,
    /// What the caller must bring.
    pub needs: Needs,
    /// The log's words for it; empty where it changes nothing.
    pub events: &'static str,
    /// How refusals are told.
    pub speaks: Speaks,
    /// Whether it takes something back: that wins under overload.
    pub takes_back: bool,
}

impl RpcRow {
    /// Whether its caller sends more than one message: then the body is not waited for.
    #[must_use]
    pub fn takes_stream(&self) -> bool {
        self.path.starts_with("/grpc.reflection.")
    }
}

const fn row(path: &'static str, needs: Needs, events: &'static str) -> RpcRow {
    RpcRow { path, needs, events, speaks: Speaks::Grpc, takes_back: false }
}

const fn oauth(path: &'static str, needs: Needs, events: &'static str) -> RpcRow {
    RpcRow { path, needs, events, speaks: Speaks::OAuth, takes_back: false }
}

const fn http(path: &'static str, needs: Needs, events: &'static str) -> RpcRow {
    RpcRow { path, needs, events, speaks: Speaks::Problem, takes_back: false }
}

const fn taking_back(row: RpcRow) -> RpcRow {
    RpcRow { takes_back: true, ..row }
}

/// Every RPC that is served.
pub const RPCS: &[RpcRow] = &[
    row("/jeton.v1.SessionService/OpenSession", Needs::Identity, "session_opened session_refused"),
    row("/jeton.v1.SessionService/GetSession", Needs::Identity, ""),
    row("/jeton.v1.SessionService/ListSessions", Needs::Identity, ""),
    taking_back(row(
        "/jeton.v1.SessionService/CloseSession",
        Needs::Identity,
        "session_closed revoked",
    )),
    row("/jeton.v1.SessionService/WhoAmI", Needs::Identity, ""),
    row(
        "/jeton.v1.GrantService/RequestGrant",
        Needs::Session,
        "denied pending intent issued mint_failed",
    ),
    row("/jeton.v1.GrantService/ClaimGrant", Needs::Session, "denied intent issued mint_failed"),
    row("/jeton.v1.GrantService/AwaitGrant", Needs::Session, "denied intent issued mint_failed"),
    row("/jeton.v1.GrantService/RenewGrant", Needs::Session, "intent renewed mint_failed"),
    taking_back(row("/jeton.v1.GrantService/ReleaseGrant", Needs::Session, "released")),
    row("/jeton.v1.GrantService/GetGrant", Needs::Identity, ""),
    row("/jeton.v1.GrantService/ListGrants", Needs::Identity, ""),
    taking_back(row("/jeton.v1.GrantService/RevokeGrant", Needs::Identity, "revoked")),
    taking_back(row(
        "/jeton.v1.GrantService/RevokeMatching",
        Needs::Identity,
        "revocation_asked session_closed revoked",
    )),
    row("/jeton.v1.GrantService/LiftStop", Needs::Identity, "stop_lifted"),
    row("/jeton.v1.GrantService/ListStops", Needs::Identity, ""),
    row("/jeton.v1.GrantService/ListBudgets", Needs::Identity, ""),
    taking_back(row("/jeton.v1.GrantService/ReDecide", Needs::Identity, "re_decided revoked")),
    row("/jeton.v1.ApprovalService/ListApprovals", Needs::Identity, ""),
    row("/jeton.v1.ApprovalService/GetApproval", Needs::Identity, ""),
    row("/jeton.v1.ApprovalService/WatchApprovals", Needs::Identity, ""),
    row("/jeton.v1.ApprovalService/Approve", Needs::Identity, "approved"),
    row("/jeton.v1.ApprovalService/Reject", Needs::Identity, "rejected"),
    row("/jeton.v1.ApprovalService/Comment", Needs::Identity, "commented"),
    row("/jeton.v1.ApprovalService/BreakGlass", Needs::Identity, "glass_broken"),
    row("/jeton.v1.ApprovalService/ListUnreviewed", Needs::Identity, ""),
    row("/jeton.v1.ApprovalService/ReviewEmergency", Needs::Identity, "glass_reviewed"),
    row("/jeton.v1.ApprovalService/WithdrawApproval", Needs::Identity, "approval_withdrawn"),
    row("/jeton.v1.PolicyService/GetPolicies", Needs::Identity, ""),
    row("/jeton.v1.PolicyService/GetPolicySet", Needs::Identity, ""),
    row("/jeton.v1.PolicyService/ReloadPolicies", Needs::Identity, "policy_loaded"),
    row(
        "/jeton.v1.PolicyService/RollBackPolicies",
        Needs::Identity,
        "policy_proposed policy_rolled_back",
    ),
    row("/jeton.v1.PolicyService/Explain", Needs::Identity, ""),
    row("/jeton.v1.PolicyService/Survey", Needs::Identity, ""),
    row("/jeton.v1.IntrospectionService/Introspect", Needs::Verifier, ""),
    row("/jeton.v1.RevocationService/WatchRevocations", Needs::Identity, ""),
    row("/jeton.v1.AuditService/ListEntries", Needs::LogView, "log_read"),
    row("/jeton.v1.AuditService/Summarise", Needs::LogView, "log_read"),
    row("/jeton.v1.AuditService/TailEntries", Needs::LogView, "log_read"),
    row("/jeton.v1.AuditService/GetReceipt", Needs::LogView, "log_read"),
    row("/jeton.v1.AuditService/GetCheckpoint", Needs::Identity, ""),
    row("/jeton.v1.AuditService/GetConsistencyProof", Needs::Identity, ""),
    row("/jeton.v1.AuditService/AcknowledgeRestore", Needs::Identity, "restore_acknowledged"),
    oauth(
        TOKEN,
        Needs::InBody,
        "session_opened session_refused denied pending intent issued mint_failed session_closed revoked",
    ),
    oauth(INTROSPECT, Needs::Verifier, ""),
    taking_back(oauth(REVOKE, Needs::Identity, "revoked")),
    http(EVENTS, Needs::InBody, "revocation_asked session_closed revoked"),
    http(KEYS, Needs::Nothing, ""),
    http(CONFIGURATION, Needs::Nothing, ""),
    http(SERVER, Needs::Nothing, ""),
    row("/grpc.health.v1.Health/Check", Needs::Nothing, ""),
    row("/grpc.health.v1.Health/Watch", Needs::Nothing, ""),
    row("/grpc.health.v1.Health/List", Needs::Nothing, ""),
    row("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Needs::Identity, ""),
    row("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Needs::Identity, ""),
];

/// The log over HTTP, on the same port: every path below it.
pub static LOG: RpcRow = http("/log/", Needs::Identity, "log_read");

/// What is told of each resource: every path below it.
pub static RESOURCE_METADATA: RpcRow = http(RESOURCES, Needs::Nothing, "");

/// Which tokens were taken back: every path below it.
pub static STATUS: RpcRow = http(PATH, Needs::Nothing, "");

/// The row of a path, compared byte for byte: no other spelling of a path is known.
#[must_use]
pub fn find(path: &str) -> Option<&'static RpcRow> {
    let below =
        [&LOG, &RESOURCE_METADATA, &STATUS].into_iter().find(|row| path.starts_with(row.path));
    RPCS.iter().find(|row| row.path == path).or(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn every_rpc_of_our_protocol_has_a_row_and_no_row_is_left_over() {
        let set = prost_types::FileDescriptorSet::decode(jeton_proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut served: Vec<String> = set
            .file
            .iter()
            .filter(|file| file.package() == "jeton.v1")
            .flat_map(|file| file.service.iter())
            .flat_map(|service| {
                let name = service.name().to_owned();
                service.method.iter().map(move |rpc| format!("/jeton.v1.{name}/{}", rpc.name()))
            })
            .collect();
        served.sort();
        let mut listed: Vec<String> = RPCS
            .iter()
            .map(|row| row.path.to_owned())
            .filter(|path| path.starts_with("/jeton"))
            .collect();
        listed.sort();
        assert_eq!(served, listed);
    }

    #[test]
    fn no_rpc_of_our_protocol_takes_more_than_one_message() {
        let set = prost_types::FileDescriptorSet::decode(jeton_proto::FILE_DESCRIPTOR_SET).unwrap();
        let ours = set.file.iter().filter(|file| file.package() == "jeton.v1");
        let rpcs = ours.flat_map(|file| &file.service).flat_map(|service| &service.method);
        for rpc in rpcs {
            assert!(!rpc.client_streaming(), "{}", rpc.name());
        }
    }

    #[test]
    fn whatever_takes_back_has_the_places_for_it() {
        for row in RPCS.iter().filter(|row| row.needs != Needs::InBody) {
            let words = ["revoked", "released"];
            let told = words.iter().any(|word| row.events.contains(word));
            assert_eq!(row.takes_back, told, "{}", row.path);
        }
    }

    #[test]
    fn other_spellings_of_a_path_are_unknown() {
        for path in [
            "jeton.v1.GrantService/RequestGrant",
            "//jeton.v1.GrantService/RequestGrant",
            "/jeton.v1.GrantService/RequestGrant/",
            "/jeton.v1.GrantService/requestgrant",
            "/jeton.v1.GrantService%2FRequestGrant",
            "/jeton.v1.GrantService/RequestGrant.",
            "/jeton.v1.GrantService/RequestGrant?x",
            "/log",
            "//log/checkpoint",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }
}

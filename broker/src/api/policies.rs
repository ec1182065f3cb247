//! `PolicyService`.

use jeton_domain::{decision::Rules, session::Words};
use jeton_proto::v1::{
    ExplainRequest, ExplainResponse, GetPoliciesRequest, GetPoliciesResponse, GetPolicySetRequest,
    GetPolicySetResponse, KeptPolicySet, PolicyFile, ReloadPoliciesRequest, ReloadPoliciesResponse,
    RollBackPoliciesRequest, RollBackPoliciesResponse, SurveyRequest, SurveyResponse,
    policy_service_server::PolicyService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, caller, page, status, wire};
use crate::operation::{
    explain,
    policies::{self, GoneBack},
    reload_policy::Reloaded,
};

#[async_trait]
impl PolicyService for Api {
    async fn get_policies(
        &self,
        request: Request<GetPoliciesRequest>,
    ) -> Result<Response<GetPoliciesResponse>, Status> {
        let caller = caller(&request)?;
        let found = policies::loaded(&self.broker, &caller).await?;
        let kept = found.kept.into_iter();
        let kept = kept.map(|(hash, since)| KeptPolicySet { hash, since: Some(wire::time(since)) });
        Ok(Response::new(GetPoliciesResponse {
            hash: found.hash,
            instead_of: found.pinned.map(|pin| pin.instead_of).unwrap_or_default(),
            kept: kept.collect(),
        }))
    }

    async fn get_policy_set(
        &self,
        request: Request<GetPolicySetRequest>,
    ) -> Result<Response<GetPolicySetResponse>, Status> {
        let caller = caller(&request)?;
        let hash = request.into_inner().hash;
        let files = policies::files(&self.broker, &caller, hash).await?.into_iter();
        let files = files.map(|one| PolicyFile { name: one.name, text: one.text });
        Ok(Response::new(GetPolicySetResponse { files: files.collect() }))
    }

    async fn reload_policies(
        &self,
        request: Request<ReloadPoliciesRequest>,
    ) -> Result<Response<ReloadPoliciesResponse>, Status> {
        let caller = caller(&request)?;
        let done = policies::reload(&self.broker, &caller).await?;
        let problems = match &done {
            Reloaded::Refused(problems) => problems.iter().map(ToString::to_string).collect(),
            Reloaded::Changed | Reloaded::Kept => vec![],
        };
        Ok(Response::new(ReloadPoliciesResponse {
            hash: self.broker.policies.current().hash().to_owned(),
            changed: done == Reloaded::Changed,
            problems,
        }))
    }

    async fn roll_back_policies(
        &self,
        request: Request<RollBackPoliciesRequest>,
    ) -> Result<Response<RollBackPoliciesResponse>, Status> {
        let caller = caller(&request)?;
        let RollBackPoliciesRequest { hash, reason } = request.into_inner();
        let done = policies::roll_back(&self.broker, &caller, hash, Words::new(&reason)).await?;
        let proposed = done == GoneBack::Proposed;
        Ok(Response::new(RollBackPoliciesResponse { proposed }))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let caller = caller(&request)?;
        let _place = self.looks.take(&caller).ok_or_else(status::shed)?;
        let asking = wire::explain::asking(request.into_inner(), &self.broker.spelling)?;
        let (hash, answers) = explain::explain(&self.broker, &caller, asking).await?;
        Ok(Response::new(wire::explain::explained(hash, answers)))
    }

    async fn survey(
        &self,
        request: Request<SurveyRequest>,
    ) -> Result<Response<SurveyResponse>, Status> {
        let caller = caller(&request)?;
        let _place = self.looks.take(&caller).ok_or_else(status::shed)?;
        let SurveyRequest { agent, scope, person, page: asked, delivery } = request.into_inner();
        // Why with the set: under another one the places are those of other questions.
        let set = self.broker.policies.current().hash().to_owned();
        let query = page::query(
            "survey",
            &format!("{agent:?} {scope:?} {person:?} {delivery} {set}"),
            &caller,
        );
        let about = wire::explain::about(&agent, scope, &self.broker.spelling)?;
        let person = wire::optional("person", &person, wire::principal)?;
        let (place, size) = page::place(&self.broker, asked, &query)?;
        let from = (place.unwrap_or(0), size);
        let delivery = wire::delivery(delivery)?;
        let found = explain::survey(&self.broker, &caller, about, person, delivery, from).await?;
        Ok(Response::new(SurveyResponse {
            hash: found.policy_hash,
            rows: found.rows.into_iter().flat_map(wire::explain::rows).collect(),
            next_page_token: page::render_place(&self.broker, found.next, &query)?,
        }))
    }
}

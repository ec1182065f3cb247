//! Cedar. (placeholder of the lead while policy is being written: overwrite this file)
use jeton_domain::{decision::*, principal::*, scope::*, ttl::*};
use std::{path::Path, sync::Arc};
pub struct Policies(Arc<PolicySet>);
pub struct PolicySet;
impl Policies {
    pub fn load(_: &Path, _: &[(Upstream, Vec<Action>)]) -> Result<Self, Vec<String>> {
        Ok(Self(Arc::new(PolicySet)))
    }
    pub fn current(&self) -> Arc<PolicySet> {
        self.0.clone()
    }
    pub fn reload(&self, _: &Path) -> Result<String, Vec<String>> {
        Ok(String::new())
    }
}
impl PolicySet {
    pub fn may_open(
        &self,
        _: &PrincipalId,
        _: PrincipalKind,
        _: &PrincipalId,
        _: Option<&PrincipalId>,
        _: Ttl,
        _: Timestamp,
    ) -> Verdict {
        Verdict::Allow(vec![])
    }
}
impl Rules for PolicySet {
    fn judge(&self, _: &Question<'_>) -> Verdict {
        Verdict::Allow(vec![])
    }
    fn hash(&self) -> &str {
        "stub"
    }
}

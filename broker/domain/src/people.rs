//! One identity for each person, however the person authenticates.
//!
//! The catalog declares people with an id, aliases (another mail address, the SPIFFE id of a client
//! certificate) and accounts (`iss` and `sub` of a token). Mail addresses differ in case and are
//! one address. A rule that counts people or keeps them apart compares identities, never names.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::principal::{Issuer, PrincipalId};

/// The account of a person at an issuer: what stays the same when a name or an address changes
/// (OpenID Connect Core 1.0 §5.7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The issuer, by its `iss`.
    pub issuer: Issuer,
    /// The account, by its `sub`.
    pub subject: Box<str>,
}

/// The people that are declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    /// The id of each declared name: a mail address in lower case, any other name as it is.
    ids: HashMap<Box<str>, PrincipalId>,
    accounts: HashMap<Account, PrincipalId>,
    names: HashMap<PrincipalId, BTreeSet<PrincipalId>>,
}

/// Why a person can't be declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeopleError {
    /// The name stands for somebody already.
    #[error("the name `{0}` stands for a person already")]
    Name(PrincipalId),
    /// The account belongs to somebody already.
    #[error("the account `{0}` belongs to a person already")]
    Account(Box<str>),
}

impl People {
    /// Declares a person. Nothing is declared on an error.
    ///
    /// # Errors
    /// When a name or an account is declared already, differences in case of an address aside.
    pub fn declare(
        &mut self,
        id: &PrincipalId,
        aliases: &BTreeSet<PrincipalId>,
        accounts: &BTreeSet<Account>,
    ) -> Result<(), PeopleError> {
        let names: BTreeSet<_> = aliases.iter().chain([id]).cloned().collect();
        let keys: BTreeSet<_> = names.iter().map(key).collect();
        let taken = |name: &&PrincipalId| self.ids.contains_key(&*key(name));
        if let Some(name) = names.iter().find(taken) {
            return Err(PeopleError::Name(name.clone()));
        }
        if let Some(taken) = accounts.iter().find(|one| self.accounts.contains_key(one)) {
            return Err(PeopleError::Account(taken.subject.clone()));
        }
        self.ids.extend(keys.into_iter().map(|key| (key, id.clone())));
        self.accounts.extend(accounts.iter().map(|account| (account.clone(), id.clone())));
        self.names.insert(id.clone(), names);
        Ok(())
    }

    /// The one name of the person that a name stands for. A mail address that nobody declares is
    /// itself, in lower case; any other name is itself.
    #[must_use]
    pub fn identity(&self, name: &PrincipalId) -> PrincipalId {
        match self.ids.get(&*key(name)) {
            Some(id) => id.clone(),
            None => lower(name),
        }
    }

    /// The declared person of an account.
    #[must_use]
    pub fn of_account(&self, account: &Account) -> Option<&PrincipalId> {
        self.accounts.get(account)
    }

    /// The declared accounts of a person, in order.
    pub fn accounts<'p>(&'p self, id: &PrincipalId) -> impl Iterator<Item = &'p Account> + use<'p> {
        let own = self.accounts.iter().filter(move |(_, of)| *of == id);
        own.map(|(account, _)| account).collect::<BTreeSet<_>>().into_iter()
    }

    /// Whether a name stands for a declared person.
    #[must_use]
    pub fn declares(&self, name: &PrincipalId) -> bool {
        self.ids.contains_key(&*key(name))
    }

    /// Whether two names stand for one person. Differences in case count for nothing here, in any
    /// name: where this keeps people apart, two spellings are nobody's second voice.
    #[must_use]
    pub fn are_one(&self, one: &PrincipalId, other: &PrincipalId) -> bool {
        let (one, other) = (self.identity(one), self.identity(other));
        one.as_str().eq_ignore_ascii_case(other.as_str())
    }

    /// Every declared name of a person, its identity among them.
    #[must_use]
    pub fn names(&self, name: &PrincipalId) -> BTreeSet<PrincipalId> {
        let id = self.identity(name);
        let declared = self.names.get(&id).cloned().unwrap_or_default();
        declared.into_iter().chain([id]).collect()
    }
}

/// By what a name is found.
fn key(name: &PrincipalId) -> Box<str> {
    lower(name).as_str().into()
}

/// A mail address in lower case; any other name as it is. Why only those: the path of a SPIFFE id
/// differs by case, and a folded name could be given to another workload.
fn lower(name: &PrincipalId) -> PrincipalId {
    let text = name.as_str();
    if !text.contains('@') || text.contains('/') || text.contains(':') {
        return name.clone();
    }
    // Why no error: the characters of a name are ASCII, and stay a name in lower case.
    PrincipalId::parse(&text.to_ascii_lowercase()).unwrap_or_else(|_| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PrincipalId {
        PrincipalId::parse(text).unwrap()
    }

    fn account(subject: &str) -> Account {
        Account { issuer: Issuer::new("https://login.acme.dev"), subject: subject.into() }
    }

    fn people() -> People {
        let mut people = People::default();
        let aliases = [name("Ana.Alt@acme.dev"), name("spiffe://acme.dev/person/ana")];
        let accounts = [account("00u1")];
        people.declare(&name("ana@acme.dev"), &aliases.into(), &accounts.into()).unwrap();
        people
    }

    #[test]
    fn every_spelling_and_alias_is_one_person() {
        let people = people();
        for other in [
            "ana@acme.dev",
            "ANA@ACME.dev",
            "ana.alt@acme.dev",
            "ANA.alt@acme.dev",
            "spiffe://acme.dev/person/ana",
        ] {
            assert_eq!(people.identity(&name(other)), name("ana@acme.dev"), "{other}");
            assert!(people.declares(&name(other)), "{other}");
        }
        assert_eq!(people.of_account(&account("00u1")), Some(&name("ana@acme.dev")));
        assert_eq!(people.names(&name("Ana@acme.dev")).len(), 3);
    }

    #[test]
    fn a_name_that_nobody_declares_stands_for_itself() {
        let people = people();
        assert_eq!(people.identity(&name("Bo@Acme.dev")), name("bo@acme.dev"));
        for other in ["spiffe://acme.dev/person/ANA", "workload:github/Acme/api", "Ana"] {
            assert_eq!(people.identity(&name(other)), name(other));
            assert!(!people.declares(&name(other)));
        }
        assert_eq!(people.of_account(&account("00u2")), None);
    }

    #[test]
    fn two_spellings_are_never_two_people() {
        let people = people();
        let pairs = [
            ("bo@acme.dev", "BO@acme.dev"),
            ("spiffe://acme.dev/person/bo", "spiffe://acme.dev/person/BO"),
            ("ANA@acme.dev", "spiffe://acme.dev/person/ana"),
        ];
        for (one, other) in pairs {
            assert!(people.are_one(&name(one), &name(other)), "{one} {other}");
        }
        assert!(!people.are_one(&name("ana@acme.dev"), &name("bo@acme.dev")));
    }

    #[test]
    fn a_name_or_an_account_has_one_person() {
        let mut people = people();
        let none = BTreeSet::new();
        for taken in ["ANA@acme.dev", "ana.ALT@acme.dev", "spiffe://acme.dev/person/ana"] {
            let error = people.declare(&name(taken), &BTreeSet::new(), &none).unwrap_err();
            assert_eq!(error, PeopleError::Name(name(taken)));
        }
        let again = [account("00u1")].into();
        assert!(people.declare(&name("bo@acme.dev"), &BTreeSet::new(), &again).is_err());
        assert!(!people.declares(&name("bo@acme.dev")), "nothing of it is declared");
    }
}

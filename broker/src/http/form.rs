//! Form bodies as OAuth wants them: each parameter at most once (RFC 6749 §3.1, §3.2), but for those that
//! name targets (RFC 8707 §2, RFC 8693 §2.1).

use std::collections::HashMap;

use jeton_domain::secret::Secret;

/// Parameters of one form.
const PARAMETERS: usize = 32;

/// Those that may stand more than once.
const TARGETS: [&str; 2] = ["resource", "audience"];

/// The parameters of a request. Values may be secrets, so none is ever shown.
pub struct Form(HashMap<String, Vec<Secret>>);

impl Form {
    /// Reads a body.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let mut found: HashMap<String, Vec<Secret>> = HashMap::new();
        for (place, (name, value)) in form_urlencoded::parse(body).enumerate() {
            if place >= PARAMETERS {
                return Err(format!("more than {PARAMETERS} parameters"));
            }
            let values = found.entry(name.clone().into_owned()).or_default();
            values.push(Secret::new(value.into_owned()));
            if values.len() > 1 && !TARGETS.contains(&&*name) {
                let name = jeton_domain::id::quote(&name);
                return Err(format!("the parameter `{name}` stands more than once"));
            }
        }
        Ok(Self(found))
    }

    /// A parameter, the first if it stands more than once. An empty one counts as absent (RFC 6749 §3.1).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a parameter that may stand more than once.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.0.get(name).into_iter().flatten();
        values.map(Secret::expose).filter(|value| !value.is_empty())
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn must(&self, name: &str) -> Result<&str, String> {
        self.get(name).ok_or_else(|| format!("the parameter `{name}` is missing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_stands_once_and_an_empty_one_is_none() {
        let form = Form::parse(b"token=a%2Bb+c&empty=&x").unwrap();
        assert_eq!(
            (form.get("token"), form.get("empty"), form.get("x")),
            (Some("a+b c"), None, None)
        );
        assert!(form.must("scope").unwrap_err().contains("`scope` is missing"));
        assert!(Form::parse(b"token=a&token=b").err().unwrap().contains("more than once"));
        let targets = Form::parse(b"resource=a&audience=b&resource=c").unwrap();
        assert_eq!(targets.all("resource").collect::<Vec<_>>(), ["a", "c"]);
        let many: String = (0..40).map(|place| format!("p{place}=1&")).collect();
        assert!(Form::parse(many.as_bytes()).is_err());
    }
}

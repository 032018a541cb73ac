//! Who judges answers when they are measured.

use anyhow::{Context as _, Result, ensure};
use footage_ask::{Endpoint, EndpointSettings, Key};

use super::Layers;
use super::ask::{AskSettings, plain};

/// The settings under `[judge]`.
#[derive(Clone, Debug)]
pub(crate) struct JudgeSettings {
    /// None: nobody judges.
    endpoint: Option<EndpointSettings>,
    /// How many answers are with the judge at once.
    pub parallel: usize,
}

impl JudgeSettings {
    pub(super) fn read(layers: &Layers, ask: &AskSettings) -> Result<Self> {
        let address = plain(layers, "judge.endpoint")?.trim().to_owned();
        let key = Some(plain(layers, "judge.key")?).filter(|key| !key.is_empty());
        let endpoint = EndpointSettings {
            section: "judge",
            address: address.clone(),
            model: plain(layers, "judge.model")?,
            // A key is for one place: that of who answers questions stays there.
            key: key.map(Key::new),
            max_tokens: layers.within("judge.max_tokens", 16, 100_000)?,
            // The likeliest verdict, so that the same answers get the same marks as far as the judge
            // allows.
            temperature: 0.0,
            top_p: 1.0,
            ..ask.endpoint.clone()
        };
        ensure!(
            address.is_empty() || address.contains("://"),
            "setting `judge.endpoint` is no address: write it as http://HOST:PORT/v1"
        );
        Ok(Self {
            endpoint: (!address.is_empty()).then_some(endpoint),
            parallel: layers.count("judge.parallel", 64)?.get(),
        })
    }

    /// Makes the judge ready; none where nobody was named. Nothing is sent.
    pub(crate) fn open(&self) -> Result<Option<Endpoint>> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        Ok(Some(Endpoint::new(endpoint.clone()).context("setting `judge.endpoint`")?))
    }

    /// What verdicts follow from, besides what is judged.
    pub(crate) fn identity(&self) -> String {
        let named = self.endpoint.as_ref().map(|to| format!("{} {}", to.address, to.model));
        named.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{DEFAULTS, Origin};

    fn read(stated: &[(&str, &str)]) -> Result<JudgeSettings> {
        let mut layers = Layers::of_defaults(DEFAULTS).unwrap();
        for (key, text) in stated {
            layers.state_text(key, text, Origin::Default).unwrap();
        }
        JudgeSettings::read(&layers, &AskSettings::read(&layers)?)
    }

    #[test]
    fn nobody_judges_unless_somebody_is_named_and_the_answerer_s_key_is_not_theirs() {
        assert!(read(&[]).unwrap().open().unwrap().is_none());
        let stated = [("ask.answerer", "http://a/v1"), ("ask.key", "sesame"), ("ask.model", "big")];
        let judge = read(&[&stated[..], &[("judge.endpoint", "http://b/v1")]].concat()).unwrap();
        let endpoint = judge.endpoint.as_ref().unwrap();
        assert_eq!((endpoint.key.clone(), endpoint.model.as_str()), (None, ""));
        assert!(judge.open().unwrap().is_some());
        assert!(read(&[("judge.endpoint", "mini")]).unwrap_err().to_string().contains("/v1"));
    }
}

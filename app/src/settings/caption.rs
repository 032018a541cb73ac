//! Who describes clips in words, and how often.

use anyhow::{Result, ensure};
use footage_ask::{EndpointSettings, Key};
use footage_model::conversation::Sampling;

use super::Layers;
use super::ask::{AnswererChoice, AskSettings, plain};

/// The word that stands for whoever answers questions.
const SAME: &str = "ask";

/// The settings under `[caption]`.
#[derive(Clone, Debug)]
pub(crate) struct CaptionSettings {
    pub by: AnswererChoice,
    /// How words are drawn on this machine.
    pub sampling: Sampling,
    /// While footage comes in, no two captions of a source begin closer to each other.
    pub every_ns: u64,
    /// Clips of live sources that may wait.
    pub queue_clips: usize,
}

impl CaptionSettings {
    pub(super) fn read(layers: &Layers, ask: &AskSettings) -> Result<Self> {
        let by = plain(layers, "caption.by")?;
        let key = Some(plain(layers, "caption.key")?).filter(|key| !key.is_empty());
        let model = plain(layers, "caption.model")?;
        let max_tokens = layers.within("caption.max_tokens", 1, 1000)?;
        let of_ask = ask.endpoint.clone();
        let by = if by.trim() == SAME {
            match ask.answerer.clone() {
                AnswererChoice::Endpoint(endpoint) => {
                    AnswererChoice::Endpoint(EndpointSettings { max_tokens, ..endpoint })
                }
                other => other,
            }
        } else {
            // A key is for one place: that of who answers questions stays there.
            let key = key.map(Key::new);
            let address = by.clone();
            let section = "caption";
            let endpoint = EndpointSettings { section, address, model, key, max_tokens, ..of_ask };
            AnswererChoice::of(&by, endpoint)
        };
        ensure!(
            !matches!(by, AnswererChoice::Bundled),
            "setting `caption.by`: the bundled answerer answers questions, and describes nothing: name \
             an endpoint or a LLaVA's folder"
        );
        let every_s: f64 = layers.within("caption.every_s", 0.0, 1e6)?;
        Ok(Self {
            by,
            sampling: Sampling { max_tokens, ..ask.sampling() },
            every_ns: (every_s * 1e9) as u64,
            queue_clips: layers.count("caption.queue_clips", 1_000_000)?.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{DEFAULTS, Origin};

    fn read(stated: &[(&str, &str)]) -> CaptionSettings {
        tried(stated).unwrap()
    }

    fn tried(stated: &[(&str, &str)]) -> Result<CaptionSettings> {
        let mut layers = Layers::of_defaults(DEFAULTS).unwrap();
        for (key, text) in stated {
            layers.state_text(key, text, Origin::Default).unwrap();
        }
        CaptionSettings::read(&layers, &AskSettings::read(&layers)?)
    }

    fn endpoint(settings: &CaptionSettings) -> &EndpointSettings {
        match &settings.by {
            AnswererChoice::Endpoint(endpoint) => endpoint,
            other => panic!("{other:?}"),
        }
    }

    const ASK: [(&str, &str); 3] =
        [("ask.answerer", "http://a/v1"), ("ask.model", "big"), ("ask.key", "sesame")];

    #[test]
    fn nobody_describes_unless_somebody_is_named() {
        assert!(matches!(read(&ASK).by, AnswererChoice::None));
        let nobody = read(&[("caption.by", "ask"), ("ask.answerer", "")]);
        assert!(matches!(nobody.by, AnswererChoice::None));
        // Who answers unless somebody is named describes nothing.
        for by in ["ask", "mini"] {
            let error = tried(&[("caption.by", by)]).unwrap_err().to_string();
            assert!(error.contains("describes nothing"), "{error}");
        }
        assert!(matches!(read(&[("caption.by", "llava")]).by, AnswererChoice::Folder(_)));
    }

    #[test]
    fn a_key_stays_with_the_endpoint_that_it_is_for() {
        let same = read(&[&ASK[..], &[("caption.by", "ask")]].concat());
        let same = endpoint(&same);
        assert_eq!((same.address.as_str(), same.model.as_str()), ("http://a/v1", "big"));
        assert_eq!(same.key, Some(Key::new("sesame")));
        assert_eq!(same.max_tokens, 96);

        let other = read(&[&ASK[..], &[("caption.by", "http://b/v1")]].concat());
        let other = endpoint(&other);
        assert_eq!((other.address.as_str(), other.model.as_str()), ("http://b/v1", ""));
        assert_eq!(other.key, None);
        let own = read(&[("caption.by", "http://b/v1"), ("caption.key", "open")]);
        assert_eq!(endpoint(&own).key, Some(Key::new("open")));
    }
}

//! Where each setting comes from: the defaults, a file, the environment, a flag.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// What the keys of live sources begin with: `sources.NAME.FIELD`.
const SOURCES: &str = "sources.";

/// What every environment variable that is a setting begins with.
pub(crate) const ENV_PREFIX: &str = "FOOTAGE__";

/// Who stated a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(PathBuf),
    Env(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One setting and who stated it last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    pub value: Value,
    pub origin: Origin,
}

/// All settings by `section.key`. A later statement wins over an earlier one; what the defaults do
/// not know is refused.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    settings: BTreeMap<String, Setting>,
    /// What is stated of live sources, by name: see [`super::sources`].
    sources: BTreeMap<String, StatedSource>,
}

/// What is stated of one live source, and where.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StatedSource {
    pub fields: BTreeMap<String, Setting>,
}

impl Layers {
    /// The defaults alone.
    pub(crate) fn of_defaults(text: &str) -> Result<Self> {
        let table: Table = toml::from_str(text).context("the built-in defaults are broken")?;
        let settings = leaves(table)
            .into_iter()
            .map(|(key, value)| (key, Setting { value, origin: Origin::Default }))
            .collect();
        Ok(Self { settings, sources: BTreeMap::new() })
    }

    /// States what a TOML file states.
    pub(crate) fn with_file(mut self, path: &Path) -> Result<Self> {
        let text = fs_err::read_to_string(path)?;
        // The error's own text repeats the line, which may hold a password.
        let table: Table = toml::from_str(&text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.lines().count().max(1));
            anyhow!("{} is no TOML: line {line}: {}", path.display(), error.message())
        })?;
        for (key, value) in leaves(table) {
            self.state(&key, value, Origin::File(path.to_owned()))?;
        }
        Ok(self)
    }

    /// The live sources stated, by name.
    pub(crate) fn sources(&self) -> &BTreeMap<String, StatedSource> {
        &self.sources
    }

    /// States what variables named `FOOTAGE__SECTION__KEY` state.
    pub(crate) fn with_env(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
            let key = rest.to_lowercase().replace("__", ".");
            self.state_text(&key, &text, Origin::Env(name.clone()))?;
        }
        Ok(self)
    }

    /// States one setting as text: `true`, `2`, `0.5`, or the text itself, by what the setting is.
    pub(crate) fn state_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<()> {
        if key.starts_with(SOURCES) {
            let field = key.rsplit('.').next().unwrap_or_default();
            return self.state(key, super::sources::value_of(field, text), origin);
        }
        let wrong = |kind| anyhow!("setting `{key}` (from {origin}) is `{text}`, not {kind}");
        let value = match &self.known(key, &origin)?.value {
            Value::Integer(_) => Value::Integer(text.parse().map_err(|_| wrong("a whole number"))?),
            Value::Float(_) => Value::Float(text.parse().map_err(|_| wrong("a number"))?),
            Value::Boolean(_) => Value::Boolean(text.parse().map_err(|_| wrong("true or false"))?),
            _ => Value::String(text.to_owned()),
        };
        self.state(key, value, origin)
    }

    fn state(&mut self, key: &str, value: Value, origin: Origin) -> Result<()> {
        if let Some(key) = key.strip_prefix(SOURCES) {
            let (name, field) = key.split_once('.').with_context(|| {
                format!("`{SOURCES}{key}` (from {origin}) is no source: write [sources.NAME]")
            })?;
            let source = self.sources.entry(name.to_owned()).or_default();
            source.fields.insert(field.to_owned(), Setting { value, origin });
            return Ok(());
        }
        let held = &self.known(key, &origin)?.value;
        let value = match (held, value) {
            (Value::Float(_), Value::Integer(whole)) => Value::Float(whole as f64),
            // `rate = 2` and `rate = "30000/1001"` are both what people write.
            (Value::String(_), Value::Integer(whole)) => Value::String(whole.to_string()),
            (Value::String(_), Value::Float(number)) => Value::String(number.to_string()),
            (_, value) => value,
        };
        if held.same_type(&value) {
            self.settings.insert(key.to_owned(), Setting { value, origin });
            return Ok(());
        }
        let (is, needs) = (value.type_str(), held.type_str());
        bail!("setting `{key}` (from {origin}) is of type {is} and has to be of type {needs}")
    }

    fn known(&self, key: &str, origin: &Origin) -> Result<&Setting> {
        self.settings.get(key).ok_or_else(|| {
            let section = key.split('.').next().unwrap_or_default();
            let alike: Vec<&str> = self
                .settings
                .keys()
                .filter(|known| known.split('.').next() == Some(section))
                .map(String::as_str)
                .collect();
            let hint = if alike.is_empty() {
                "`footage config` lists the settings".to_owned()
            } else {
                format!("known in this section: {}", alike.join(", "))
            };
            anyhow!("there is no setting `{key}` (from {origin}): {hint}")
        })
    }

    /// A setting's value as `T`.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let Setting { value, origin } = self.known(key, &Origin::Default)?;
        value.clone().try_into().map_err(|error: toml::de::Error| {
            anyhow!("setting `{key}` (from {origin}) is {value}: {}", error.message())
        })
    }

    /// A number within bounds.
    pub(crate) fn within<T>(&self, key: &str, least: T, most: T) -> Result<T>
    where
        T: Copy + DeserializeOwned + PartialOrd + fmt::Display,
    {
        let number: T = self.get(key)?;
        let origin = &self.known(key, &Origin::Default)?.origin;
        ensure!(
            number >= least && number <= most,
            "setting `{key}` (from {origin}) is {number}: choose {least} to {most}"
        );
        Ok(number)
    }

    /// A count of at least 1.
    pub(crate) fn count(&self, key: &str, most: usize) -> Result<NonZeroUsize> {
        Ok(NonZeroUsize::new(self.within(key, 1, most)?).unwrap_or(NonZeroUsize::MIN))
    }

    /// A duration in seconds, of at least `least` and at most a day.
    pub(crate) fn seconds(&self, key: &str, least: f64) -> Result<Duration> {
        self.seconds_up_to(key, least, Duration::from_secs(86_400))
    }

    /// A duration in seconds, of at least `least` and at most `most`.
    pub(crate) fn seconds_up_to(&self, key: &str, least: f64, most: Duration) -> Result<Duration> {
        Ok(Duration::from_secs_f64(self.within(key, least, most.as_secs_f64())?))
    }

    /// Text in a form of its own; `None` where it is the word that says "somebody else decides".
    pub(crate) fn parsed_unless<T>(&self, key: &str, word: &str) -> Result<Option<T>>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        let text: String = self.get(key)?;
        if text == word {
            return Ok(None);
        }
        let origin = &self.known(key, &Origin::Default)?.origin;
        let parsed = text.parse();
        parsed
            .map(Some)
            .map_err(|why| anyhow!("setting `{key}` (from {origin}) is `{text}`: {why}"))
    }

    /// Every setting, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings.iter().map(|(key, setting)| (key.as_str(), setting))
    }
}

/// The values of a table and of the tables in it, by dotted key.
fn leaves(table: Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = leaves(inner).into_iter();
                found.extend(inner.map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            value => found.push((key, value)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: &str =
        "[search]\nlimit = 5\nmin_confidence = 0.5\n[window]\nrate = \"model\"\n";

    fn defaults() -> Layers {
        Layers::of_defaults(DEFAULTS).unwrap()
    }

    fn env(name: &str, value: &str) -> Result<Layers> {
        defaults().with_env([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_later_layer_wins_and_is_named_as_the_origin() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("footage.toml");
        fs_err::write(&file, "[search]\nlimit = 7\nmin_confidence = 1\n").unwrap();
        let mut layers = defaults()
            .with_file(&file)
            .unwrap()
            .with_env([("FOOTAGE__SEARCH__LIMIT".to_owned(), "8".to_owned())])
            .unwrap();
        assert_eq!(layers.get::<usize>("search.limit").unwrap(), 8);
        layers.state_text("search.limit", "9", Origin::Flag("--limit".into())).unwrap();

        assert_eq!(layers.get::<usize>("search.limit").unwrap(), 9);
        let origins: BTreeMap<_, _> =
            layers.iter().map(|(key, s)| (key.to_owned(), s.origin.clone())).collect();
        assert_eq!(origins["search.limit"], Origin::Flag("--limit".into()));
        assert_eq!(origins["search.min_confidence"], Origin::File(file));
        assert_eq!(origins["window.rate"], Origin::Default);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_origin_and_its_neighbours() {
        let error = env("FOOTAGE__SEARCH__LIMITS", "8").unwrap_err().to_string();
        assert!(error.contains("`search.limits`"), "{error}");
        assert!(error.contains("FOOTAGE__SEARCH__LIMITS"), "{error}");
        assert!(error.contains("search.limit, search.min_confidence"), "{error}");
    }

    #[test]
    fn variables_that_are_no_settings_are_left_alone() {
        assert!(env("FOOTAGE_LOG", "debug").is_ok());
        assert!(env("PATH", "/bin").is_ok());
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused() {
        let error = env("FOOTAGE__SEARCH__LIMIT", "many").unwrap_err().to_string();
        assert!(error.contains("a whole number"), "{error}");
    }

    #[test]
    fn a_number_stands_for_text_where_text_is_asked_for() {
        let layers = env("FOOTAGE__WINDOW__RATE", "2").unwrap();
        assert_eq!(layers.parsed_unless::<u32>("window.rate", "model").unwrap(), Some(2));
        assert_eq!(defaults().parsed_unless::<u32>("window.rate", "model").unwrap(), None);
    }

    #[test]
    fn a_number_out_of_bounds_is_refused_with_the_bounds() {
        let layers = env("FOOTAGE__SEARCH__MIN_CONFIDENCE", "1.5").unwrap();
        let error = layers.within("search.min_confidence", 0.0, 1.0).unwrap_err().to_string();
        assert!(error.contains("choose 0 to 1"), "{error}");
        let layers = env("FOOTAGE__SEARCH__MIN_CONFIDENCE", "nan").unwrap();
        assert!(layers.within("search.min_confidence", 0.0, 1.0).is_err());
    }
}

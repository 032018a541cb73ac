//! Live sources, as stated under `[sources.NAME]`: in `footage.toml` by a person, or in the data
//! directory's `sources.toml` by `footage source add`.

use fs_err::os::unix::fs::OpenOptionsExt as _;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use footage_clip::SourceId;
use footage_pipeline::{Camera, Credentials, Location, NoveltySettings, RecordingSpec};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::Settings;
use super::layers::StatedSource;
use super::secret::Secret;
use crate::requests::sources::{LiveState, States};

/// Where `footage source add` keeps what it was told, below the data directory.
const OWN_FILE: &str = "sources.toml";

/// Characters that a name for people may have: more are no name, and fit on no screen.
const LONGEST_LABEL: usize = 200;

/// Fields that hold no text.
const FLAGS: [&str; 4] = ["gate", "record", "live", "loop"];
const NUMBERS: [&str; 2] = ["keep_days", "keep_gib"];

/// How a live source is reached and what is done with it. What is not stated is as `[live]` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceDefinition {
    /// `rtsp://`, `rtsps://`, `http://`, `https://`, `v4l2:///dev/video0`, or a path with `live`.
    pub uri: String,
    /// Name for people; the source's id where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// An environment variable that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
    /// A file whose first line is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// `auto`, `tcp` or `udp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Certificates, in PEM, that are trusted for this source besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// `elastic`, `keyframes` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<String>,
    /// Whether clips with nothing new to see are left unembedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<bool>,
    /// Whether the footage is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<bool>,
    /// Days after which its clips and footage are removed; 0 means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<f64>,
    /// GiB of footage beyond which the oldest is removed; 0 means no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_gib: Option<f64>,
    /// Whether a file is played at its own pace, as a trial of a camera.
    #[serde(default)]
    pub live: bool,
    /// Whether such a file begins again at its end.
    #[serde(default, rename = "loop")]
    pub loops: bool,
}

/// All live sources in force, and which of them a person stated.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SourceList {
    pub sources: BTreeMap<SourceId, SourceDefinition>,
    /// Those that `footage source remove` cannot take away, with where they are stated.
    pub stated_at: BTreeMap<SourceId, String>,
}

impl SourceList {
    /// Reads what is stated in the settings, and what was added.
    pub(crate) fn read(stated: &BTreeMap<String, StatedSource>, data_dir: &Path) -> Result<Self> {
        let mut list = Self::default();
        for (id, definition) in OwnSources::read(data_dir)?.sources {
            list.sources.insert(id, definition);
        }
        for (name, source) in stated {
            let id = named(name)?;
            let table: Table = source
                .fields
                .iter()
                .map(|(field, setting)| (field.clone(), setting.value.clone()))
                .collect();
            let origin = source.fields.values().next().map(|setting| setting.origin.to_string());
            let origin = origin.unwrap_or_default();
            let definition: SourceDefinition = Value::Table(table).try_into().map_err(
                // The error's own text repeats what was written, the password with it.
                |error: toml::de::Error| {
                    anyhow::anyhow!("[sources.{name}] (from {origin}): {}", error.message())
                },
            )?;
            definition.check(&id)?;
            list.stated_at.insert(id.clone(), origin);
            list.sources.insert(id, definition);
        }
        Ok(list)
    }
}

impl SourceList {
    /// How they are while nobody watches.
    pub(crate) fn idle(&self) -> States {
        let state = |id: &SourceId, definition: &SourceDefinition| LiveState {
            state: "not watched".to_owned(),
            reason: None,
            since: None,
            reconnects: 0,
            seen_until: None,
            label: definition.label.clone().unwrap_or_else(|| id.to_string()),
            recording: None,
        };
        self.sources.iter().map(|(id, source)| (id.clone(), state(id, source))).collect()
    }
}

impl SourceDefinition {
    /// A source at an address, everything else as usual.
    pub(crate) fn at(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            label: None,
            user: None,
            password: None,
            password_env: None,
            password_file: None,
            transport: None,
            tls_ca: None,
            decode: None,
            gate: None,
            record: None,
            keep_days: None,
            keep_gib: None,
            live: false,
            loops: false,
        }
    }

    /// What is wrong with it by itself.
    pub(crate) fn check(&self, id: &SourceId) -> Result<()> {
        ensure!(!self.uri.is_empty(), "source `{id}` has no uri: say where it is");
        let length = self.label.as_ref().map_or(0, |label| label.chars().count());
        ensure!(
            length <= LONGEST_LABEL,
            "source `{id}`: its label has {length} characters: choose at most {LONGEST_LABEL}"
        );
        let path = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
        };
        for (field, text) in [
            ("uri", self.uri.clone()),
            ("label", self.label.clone().unwrap_or_default()),
            ("user", self.user.clone().unwrap_or_default()),
            ("password_env", self.password_env.clone().unwrap_or_default()),
            ("password_file", path(&self.password_file)),
            ("tls_ca", path(&self.tls_ca)),
        ] {
            // Not the text itself: an address may hold a password.
            ensure!(
                !text.chars().any(char::is_control),
                "source `{id}`: its {field} has control characters in it: leave them out"
            );
        }
        let ways =
            [self.password.is_some(), self.password_env.is_some(), self.password_file.is_some()];
        ensure!(
            ways.iter().filter(|way| **way).count() <= 1,
            "source `{id}` states its password in two ways: choose one of password, password_env \
             and password_file"
        );
        for (field, value) in [("keep_days", self.keep_days), ("keep_gib", self.keep_gib)] {
            let value = value.unwrap_or(0.0);
            ensure!(
                (0.0..=1e6).contains(&value),
                "source `{id}`: {field} is {value}: choose 0 to 1000000"
            );
        }
        Ok(())
    }

    /// The camera that this describes.
    pub(crate) fn camera(&self, id: &SourceId, settings: &Settings) -> Result<Camera> {
        let password = self.password().with_context(|| format!("source `{id}`"))?;
        self.camera_with(id, password, settings)
    }

    /// The camera, as far as it can be told in a process that may not have the environment which holds
    /// the password.
    pub(crate) fn camera_elsewhere(&self, id: &SourceId, settings: &Settings) -> Result<Camera> {
        let is_told_there = self.password_env.is_some();
        let password = if is_told_there { Ok(None) } else { self.password() };
        self.camera_with(id, password.with_context(|| format!("source `{id}`"))?, settings)
    }

    fn camera_with(
        &self,
        id: &SourceId,
        password: Option<Secret>,
        settings: &Settings,
    ) -> Result<Camera> {
        let about = || format!("source `{id}`");
        let live = &settings.live;
        let (location, in_address) = self.location().with_context(about)?;
        let transport = self.transport.as_deref().map_or(Ok(live.transport), str::parse);
        let decode = self.decode.as_deref().map_or(Ok(live.decode), str::parse);
        let credentials = if self.user.is_none() && password.is_none() {
            in_address
        } else {
            let (in_user, in_password) =
                in_address.map(|held| (held.user, held.password)).unwrap_or_default();
            Some(Credentials {
                user: self.user.clone().unwrap_or(in_user),
                password: password.map_or(in_password, |secret| secret.reveal().to_owned()),
            })
        };
        // Some may come from a file, or be written in the address as `%00`.
        let is_text = |text: &str| !text.chars().any(char::is_control);
        ensure!(
            credentials.as_ref().is_none_or(|held| is_text(&held.user) && is_text(&held.password)),
            "source `{id}`: its user or password has control characters in it: leave them out"
        );
        Ok(Camera {
            source_id: id.clone(),
            name: self.label.clone().unwrap_or_else(|| id.to_string()),
            location,
            credentials,
            transport: transport.with_context(about)?,
            tls_ca: self.tls_ca.clone(),
            decode: decode.with_context(about)?,
            novelty: self
                .gate
                .unwrap_or(live.gate)
                .then(|| NoveltySettings { refresh: live.refresh, ..NoveltySettings::default() }),
            recording: self
                .record
                .unwrap_or(settings.record.enabled)
                .then(|| RecordingSpec::new(&settings.data_dir, id, settings.record.recording())),
        })
    }

    /// Where it is, and the credentials in its address.
    fn location(&self) -> Result<(Location, Option<Credentials>)> {
        let is_address = self.uri.contains("://") && !self.uri.starts_with("file://");
        ensure!(
            self.live || is_address,
            "this is no address of a camera: `footage index` takes files; to play one as if it were \
             a camera, add --live, or `live = true`"
        );
        ensure!(
            !(self.live && is_address),
            "--live, or `live = true`, is for files, and this is an address: leave it out"
        );
        let (location, credentials) = if self.live && !self.uri.starts_with("file://") {
            (Location::file(PathBuf::from(&self.uri), false)?, None)
        } else {
            Location::parse(&self.uri)?
        };
        Ok((location.repeated(self.loops), credentials))
    }

    /// The password, from wherever it is kept.
    pub(crate) fn password(&self) -> Result<Option<Secret>> {
        if let Some(name) = &self.password_env {
            let value = std::env::var(name)
                .with_context(|| format!("password_env names {name}, which is not set"))?;
            return Ok(Some(Secret::new(value)));
        }
        if let Some(path) = &self.password_file {
            let text = fs_err::read_to_string(path)?;
            return Ok(Some(Secret::new(text.lines().next().unwrap_or_default())));
        }
        Ok(self.password.clone())
    }
}

/// The sources that `footage source add` was told of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnSources {
    #[serde(default)]
    pub sources: BTreeMap<SourceId, SourceDefinition>,
}

impl OwnSources {
    /// Where they are kept.
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(OWN_FILE)
    }

    pub(crate) fn read(data_dir: &Path) -> Result<Self> {
        let path = Self::path(data_dir);
        let text = match fs_err::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(error.into()),
        };
        match toml::from_str::<Self>(&text) {
            Ok(own) => {
                for (id, definition) in &own.sources {
                    definition.check(id)?;
                }
                Ok(own)
            }
            // Not the whole error: it repeats what is written there, passwords too.
            Err(error) => bail!("{} cannot be read: {}", path.display(), error.message()),
        }
    }

    /// Replaces the file as a whole. Nobody else may read it: it can hold passwords.
    pub(crate) fn write(&self, data_dir: &Path) -> Result<()> {
        fs_err::create_dir_all(data_dir)?;
        let path = Self::path(data_dir);
        let partial = path.with_extension(format!("toml.{}.part", std::process::id()));
        let text = toml::to_string(self).context("the sources cannot be written as TOML")?;
        let written = || -> Result<()> {
            let mut file = fs_err::OpenOptions::new();
            let mut file =
                file.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs_err::rename(&partial, &path)?;
            Ok(fs_err::File::open(data_dir)?.sync_all()?)
        };
        written().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A source's name as its id.
pub(crate) fn named(name: &str) -> Result<SourceId> {
    SourceId::try_new(name).with_context(|| format!("[sources.{name}]"))
}

/// Text as the value that a field of a source takes.
pub(super) fn value_of(field: &str, text: &str) -> Value {
    let as_flag = || text.parse().map(Value::Boolean).ok();
    let as_number = || text.parse().map(Value::Float).ok();
    let value = match field {
        field if FLAGS.contains(&field) => as_flag(),
        field if NUMBERS.contains(&field) => as_number(),
        _ => None,
    };
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::settings::{DEFAULTS, Layers};

    fn stated(toml: &str) -> Result<SourceList> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("footage.toml");
        fs_err::write(&file, toml).unwrap();
        let layers = Layers::of_defaults(DEFAULTS).unwrap().with_file(&file).unwrap();
        SourceList::read(layers.sources(), folder.path())
    }

    #[test]
    fn a_source_is_stated_in_the_settings_by_its_name() {
        let list = stated("[sources.gate]\nuri = \"rtsp://cam/1\"\nkeep_days = 7\n").unwrap();
        let gate = &list.sources[&SourceId::try_new("gate").unwrap()];
        assert_eq!((gate.uri.as_str(), gate.keep_days), ("rtsp://cam/1", Some(7.0)));
    }

    #[test]
    fn a_wrong_field_is_named_and_no_password_with_it() {
        let text =
            "[sources.gate]\nuri = \"rtsp://cam/1\"\npassword = \"hush\"\npasword = \"hush\"\n";
        let error = format!("{:#}", stated(text).unwrap_err());
        assert!(error.contains("sources.gate") && error.contains("pasword"), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }

    #[test]
    fn a_label_or_an_address_that_cannot_be_shown_or_opened_is_refused() {
        let id = SourceId::try_new("gate").unwrap();
        let checked = |uri: &str, label: &str| {
            let label = Some(label.to_owned());
            let definition = SourceDefinition { label, ..SourceDefinition::at(uri) };
            definition.check(&id).map_err(|error| error.to_string())
        };
        assert_eq!(checked("rtsp://cam/1", &"\u{e9}".repeat(200)), Ok(()));
        let refused = |uri, label: &str, words| {
            let error = checked(uri, label).unwrap_err();
            assert!(error.contains("`gate`") && error.contains(words), "{error}");
        };
        refused("rtsp://cam/1", &"x".repeat(201), "its label has 201 characters");
        refused("rtsp://cam/1", "front\ndoor", "its label has control characters");
        refused("/films/a\0b.mp4", "film", "its uri has control characters");
        let long =
            format!("[sources.gate]\nuri = \"rtsp://cam/1\"\nlabel = \"{}\"", "x".repeat(70_000));
        assert!(format!("{:#}", stated(&long).unwrap_err()).contains("70000 characters"));
    }

    #[test]
    fn a_password_in_the_address_goes_with_a_user_that_is_given_apart() {
        let settings = Settings::read(&Layers::of_defaults(DEFAULTS).unwrap()).unwrap();
        let id = SourceId::try_new("gate").unwrap();
        let user = Some("viewer".to_owned());
        let definition =
            SourceDefinition { user, ..SourceDefinition::at("rtsp://admin:hush@cam/1") };
        let held = definition.camera(&id, &settings).unwrap().credentials.unwrap();
        assert_eq!((held.user.as_str(), held.password.as_str()), ("viewer", "hush"));
    }

    #[test]
    fn a_password_that_another_process_knows_is_asked_for_there_alone() {
        let settings = Settings::read(&Layers::of_defaults(DEFAULTS).unwrap()).unwrap();
        let id = SourceId::try_new("gate").unwrap();
        let password_env = Some("FOOTAGE_TEST_NO_SUCH_VARIABLE".to_owned());
        let definition = SourceDefinition { password_env, ..SourceDefinition::at("rtsp://cam/1") };
        definition.camera_elsewhere(&id, &settings).unwrap();
        let error = format!("{:#}", definition.camera(&id, &settings).unwrap_err());
        assert!(error.contains("FOOTAGE_TEST_NO_SUCH_VARIABLE"), "{error}");
    }

    #[test]
    fn a_file_is_played_as_a_camera_only_where_that_is_asked_for() {
        let settings = Settings::read(&Layers::of_defaults(DEFAULTS).unwrap()).unwrap();
        let id = SourceId::try_new("gate").unwrap();
        let camera = |uri: &str, live| {
            let definition = SourceDefinition { live, ..SourceDefinition::at(uri) };
            definition.camera(&id, &settings).map_err(|error| format!("{error:#}"))
        };
        assert!(camera("/films/a.mp4", true).is_ok() && camera("file:///a.mp4", true).is_ok());
        for uri in ["/films/a.mp4", "file:///a.mp4"] {
            assert!(camera(uri, false).unwrap_err().contains("--live"));
        }
        assert!(camera("rtsp://cam/1", true).unwrap_err().contains("leave it out"));
    }

    #[test]
    fn credentials_that_no_camera_can_be_told_are_refused_and_not_repeated() {
        let settings = Settings::read(&Layers::of_defaults(DEFAULTS).unwrap()).unwrap();
        let id = SourceId::try_new("gate").unwrap();
        let definition = SourceDefinition::at("rtsp://viewer:hush%00hush@cam/1");
        let error = format!("{:#}", definition.camera(&id, &settings).unwrap_err());
        assert!(error.contains("control characters") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn a_password_is_never_shown_and_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut own = OwnSources::default();
        let definition = SourceDefinition {
            password: Some(Secret::new("hush")),
            ..SourceDefinition::at("rtsp://cam/1")
        };
        own.sources.insert(SourceId::try_new("gate").unwrap(), definition);
        assert!(!format!("{own:?}").contains("hush"));
        own.write(folder.path()).unwrap();
        let path = OwnSources::path(folder.path());
        let mode = fs_err::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = OwnSources::read(folder.path()).unwrap();
        let password = read.sources.values().next().unwrap().password().unwrap();
        assert_eq!(password.unwrap().reveal(), "hush");
    }

    #[test]
    fn a_variable_states_a_field_of_a_source() {
        let variables = [
            ("FOOTAGE__SOURCES__GATE__URI".to_owned(), "rtsp://cam/1".to_owned()),
            ("FOOTAGE__SOURCES__GATE__PASSWORD".to_owned(), "007".to_owned()),
            ("FOOTAGE__SOURCES__GATE__RECORD".to_owned(), "true".to_owned()),
        ];
        let layers = Layers::of_defaults(DEFAULTS).unwrap().with_env(variables).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let list = SourceList::read(layers.sources(), folder.path()).unwrap();
        let gate = list.sources.values().next().unwrap();
        assert_eq!(gate.password().unwrap().unwrap().reveal(), "007");
        assert_eq!(gate.record, Some(true));
    }
}

//! A certificate authority of our own, and a server certificate signed by it.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::ServerError;

/// What may be wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flaw {
    /// Nothing: valid for `localhost` and 127.0.0.1.
    #[default]
    None,
    /// It was valid long ago.
    Expired,
    /// It is for another host.
    OtherHost,
}

/// A server's certificate with its key, and the authority that a client may be told to trust.
#[derive(Debug)]
pub struct Certificate {
    ca_file: PathBuf,
    chain_and_key: String,
}

impl Certificate {
    /// The certificate kept in `folder`, which is made there if there is none: `ca.pem` and
    /// `server.pem`. So a server that is started again is the one that clients trust.
    pub fn kept_in(folder: &Path, flaw: Flaw) -> Result<Self, ServerError> {
        let (ca_file, server_file) = (folder.join("ca.pem"), folder.join("server.pem"));
        if !server_file.is_file() {
            let (ca, chain_and_key) =
                issue(flaw).map_err(|error| ServerError::Certificate(error.to_string()))?;
            fs_err::create_dir_all(folder)?;
            fs_err::write(&ca_file, ca)?;
            fs_err::write(&server_file, chain_and_key)?;
        }
        Ok(Self { chain_and_key: fs_err::read_to_string(server_file)?, ca_file })
    }

    /// The authority's certificate in PEM.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    pub(crate) fn for_gio(&self) -> Result<gio::TlsCertificate, ServerError> {
        gio::TlsCertificate::from_pem(&self.chain_and_key)
            .map_err(|error| ServerError::Certificate(error.to_string()))
    }
}

/// The authority's certificate, and the server's with its key; all in PEM.
fn issue(flaw: Flaw) -> Result<(String, String), rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "footage test authority");
    let authority_key = KeyPair::generate()?;
    let ca = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let names = match flaw {
        Flaw::OtherHost => vec!["another.invalid".to_owned()],
        Flaw::None | Flaw::Expired => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
    };
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "footage test camera");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    if flaw == Flaw::Expired {
        server.not_before = rcgen::date_time_ymd(2019, 1, 1);
        server.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;
    Ok((ca, certificate.pem() + &key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_starts_again_keeps_its_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let first = Certificate::kept_in(folder.path(), Flaw::None).unwrap();
        let second = Certificate::kept_in(folder.path(), Flaw::None).unwrap();
        assert_eq!(first.chain_and_key, second.chain_and_key);
        first.for_gio().unwrap();
        let ca = fs_err::read_to_string(first.ca_file()).unwrap();
        assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"), "{ca}");
    }
}

//! Certificates of each kind, good and bad, made by openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::components;

/// What `openssl ca` wants; it alone can say from when a certificate holds.
const DATED: &str = "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nnew_certs_dir = .\n\
                     rand_serial = yes\ndefault_md = sha256\npolicy = any\ncopy_extensions = copy\n\
                     [any]\ncommonName = supplied\n";

/// A folder of certificates, each `NAME.pem` with its `NAME.key`.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Uses a folder, which is there.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Returns the file of a certificate.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(components::program("openssl")?);
        let output = command.args(arguments).current_dir(&self.folder).output()?;
        ensure!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Makes a key and a request for it, under this name.
    fn request(&self, name: &str, extensions: &[&str]) -> Result<()> {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let subject = format!("/CN={name}");
        let mut arguments = vec!["req", "-new", "-newkey", "ec", "-pkeyopt"];
        arguments.extend(["ec_paramgen_curve:prime256v1", "-nodes", "-subj", &subject]);
        arguments.extend(["-keyout", &key, "-out", &request]);
        for extension in extensions {
            arguments.extend(["-addext", extension]);
        }
        self.openssl(&arguments)
    }

    /// Makes a certificate that another signs, for so many days.
    ///
    /// # Errors
    ///
    /// With what openssl says.
    pub fn signed(&self, name: &str, by: &str, days: &str, extensions: &[&str]) -> Result<()> {
        self.request(name, extensions)?;
        let [request, certificate] = [format!("{name}.csr"), format!("{name}.pem")];
        let [authority, key] = [format!("{by}.pem"), format!("{by}.key")];
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &authority,
            "-CAkey",
            &key,
            "-days",
            days,
            "-copy_extensions",
            "copy",
            "-CAcreateserial",
            "-out",
            &certificate,
        ])
    }

    /// Makes a certificate that another signs, and that holds from then until then, each
    /// `YYYYMMDDHHMMSSZ`.
    ///
    /// # Errors
    ///
    /// With what openssl says.
    pub fn signed_between(
        &self,
        name: &str,
        by: &str,
        [from, until]: [&str; 2],
        extensions: &[&str],
    ) -> Result<()> {
        self.request(name, extensions)?;
        fs::write(self.folder.join("dated.cnf"), DATED)?;
        fs::write(self.folder.join("index.txt"), "")?;
        let [request, certificate] = [format!("{name}.csr"), format!("{name}.pem")];
        let [authority, key] = [format!("{by}.pem"), format!("{by}.key")];
        let mut arguments = vec!["ca", "-batch", "-notext", "-config", "dated.cnf"];
        arguments.extend(["-cert", &authority, "-keyfile", &key, "-startdate", from]);
        arguments.extend(["-enddate", until, "-in", &request, "-out", &certificate]);
        self.openssl(&arguments)
    }

    /// Makes a certificate that signs itself.
    ///
    /// # Errors
    ///
    /// With what openssl says.
    pub fn self_signed(&self, name: &str, extensions: &[&str]) -> Result<()> {
        let [key, certificate] = [format!("{name}.key"), format!("{name}.pem")];
        let subject = format!("/CN={name}");
        let mut arguments = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt"];
        arguments.extend(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "9"]);
        arguments.extend(["-subj", &subject, "-keyout", &key, "-out", &certificate]);
        for extension in extensions {
            arguments.extend(["-addext", extension]);
        }
        self.openssl(&arguments)
    }

    /// Puts certificates one behind the other.
    ///
    /// # Errors
    ///
    /// Where one of them is not there.
    pub fn chain(&self, file: &str, of: &[&str]) -> Result<()> {
        let text = |name: &&str| {
            let file = self.file(name);
            fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))
        };
        let texts: Vec<_> = of.iter().map(text).collect::<Result<_>>()?;
        Ok(fs::write(self.folder.join(file), texts.concat())?)
    }
}

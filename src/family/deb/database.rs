//! dpkg's own database, written as `dpkg --unpack` would have left it: `status`, `info/`, `triggers/`.
//!
//! The format of the parts that have no manual page is what dpkg 1.20 to 1.23 read and write.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::OFlag;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;

use super::archive::{Control, ControlFile};
use super::control::Paragraph;
use super::unpack::{Unpacked, conffiles};
use crate::root::Root;

/// Where the database is in an image.
pub const ADMIN: &str = "var/lib/dpkg";

/// What a package calls itself, checked to be fit for file names and command lines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Package name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// `Multi-Arch: same`: packages of several architectures can be installed at once.
    same: bool,
}

impl Name {
    /// Of a package's control archive. Names are checked by the rules of deb-control(5) and the policy manual, 5.6.
    pub fn new(control: &Control) -> Result<Name> {
        let get = |field: &str| control.field(field).to_string();
        let name = Name {
            name: get("Package"),
            version: get("Version"),
            arch: get("Architecture"),
            same: control.field("Multi-Arch") == "same",
        };
        let good = |text: &str, more: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !good(&name.name, "+-._") || !good(&name.version, "+-.~:") || !good(&name.arch, "-") {
            bail!("not a package name, version and architecture: {:?} {:?} {:?}", name.name, name.version, name.arch);
        }
        Ok(name)
    }

    /// As dpkg names it where the architecture matters: `libc6:amd64`, `bash`.
    pub fn qualified(&self) -> String {
        if self.same { format!("{}:{}", self.name, self.arch) } else { self.name.clone() }
    }
}

/// Writes the database of packages that are unpacked and not configured, in the order in which dpkg would have
/// unpacked them.
pub fn write(root: &Root, packages: &[(&Name, &Control, &Unpacked)]) -> Result<()> {
    for dir in ["info", "updates", "triggers", "parts", "alternatives"] {
        root.create_dir_all(format!("{ADMIN}/{dir}"), 0o755)?;
    }
    let mut status = String::new();
    let mut triggers = Triggers::default();
    for (name, control, unpacked) in packages {
        let context = || format!("writing dpkg's database of {}", name.name);
        info(root, name, control, unpacked).with_context(context)?;
        triggers.add(name, &control.text("triggers")).with_context(context)?;
        status.push_str(&status_paragraph(control, unpacked).with_context(context)?);
        status.push('\n');
    }
    triggers.write(root)?;
    // Since version 1 the files of info/ have the architecture in their names where several can be installed.
    root.write(format!("{ADMIN}/info/format"), "1\n", 0o644)?;
    root.write(format!("{ADMIN}/status"), status, 0o644)
}

/// The files of `info/`: those of the control archive, and the list.
fn info(root: &Root, name: &Name, control: &Control, unpacked: &Unpacked) -> Result<()> {
    let prefix = format!("{ADMIN}/info/{}", name.qualified());
    for file in &control.files {
        // dpkg takes no names with a dot, and makes the list itself.
        if !file.name.contains('.') && file.name != "list" {
            write_dated(root, &format!("{prefix}.{}", file.name), file)?;
        }
    }
    let mut list = unpacked.list.join(&b'\n');
    list.push(b'\n');
    root.write(format!("{prefix}.list"), list, 0o644)?;
    if let Some(md5sums) = &unpacked.md5sums {
        root.write(format!("{prefix}.md5sums"), md5sums, 0o644)?;
    }
    Ok(())
}

/// Lays out what a preinst finds beside itself while dpkg runs it: the whole control archive.
pub fn write_control_folder(root: &Root, folder: &str, control: &Control) -> Result<()> {
    root.create_dir_all(folder, 0o755)?;
    root.write(format!("{folder}/control"), control.fields.to_string(), 0o644)?;
    for file in control.files.iter().filter(|f| f.name != "control") {
        write_dated(root, &format!("{folder}/{}", file.name), file)?;
    }
    Ok(())
}

/// Puts configuration files of an unpacked package where they belong, a copy beside the one that waits for dpkg.
/// debootstrap does so with the packages it calls required, and their scripts read each other's configuration.
pub fn place_conffiles(root: &Root, control: &Control, unpacked: &Unpacked) -> Result<()> {
    for conffile in conffiles(control)?.into_iter().filter(|c| !c.remove && !unpacked.obsolete.contains(&c.path)) {
        let waiting = format!("{}.dpkg-new", conffile.path);
        let Some(stat) = root.lstat(&waiting)? else { continue };
        if crate::root::kind(&stat) != crate::root::Kind::File || root.lstat(&conffile.path)?.is_some() {
            continue;
        }
        root.write(&conffile.path, root.read(&waiting)?, stat.st_mode & 0o7777)?;
        root.chown(&conffile.path, stat.st_uid, stat.st_gid)?;
    }
    Ok(())
}

/// A file with the mode and the time that it has in the package.
fn write_dated(root: &Root, path: &str, file: &ControlFile) -> Result<()> {
    // Scripts run as they are, so whatever the package says of the mode, they can be.
    let script = ["preinst", "postinst", "prerm", "postrm", "config"].contains(&file.name.as_str());
    let mode = file.mode & 0o777 | if script { 0o111 } else { 0 };
    let write = || -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mut out = std::fs::File::from(root.open_at(path, flags, 0o600)?);
        out.write_all(&file.data)?;
        nix::sys::stat::fchmod(&out, nix::sys::stat::Mode::from_bits_truncate(mode))?;
        let time = TimeSpec::new(file.mtime, 0);
        futimens(&out, &time, &time)?;
        Ok(())
    };
    write().with_context(|| format!("writing /{path}"))
}

/// The paragraph of an unpacked package. dpkg puts the fields in its own order when it next writes the file.
fn status_paragraph(control: &Control, unpacked: &Unpacked) -> Result<String> {
    let mut fields = Paragraph::default();
    fields.set("Package", control.field("Package"));
    fields.set("Status", "install ok unpacked");
    // These are dpkg's to say, not the package's.
    const OWN: [&str; 6] = ["Package", "Status", "Conffiles", "Config-Version", "Triggers-Pending", "Triggers-Awaited"];
    for (name, value) in control.fields.iter().filter(|(name, _)| !OWN.iter().any(|o| o.eq_ignore_ascii_case(name))) {
        fields.set(name, value);
    }
    let mut lines = String::new();
    for conffile in conffiles(control)? {
        lines.push_str(&format!("\n {} newconffile", conffile.path));
        if unpacked.obsolete.contains(&conffile.path) {
            lines.push_str(" obsolete");
        }
        if conffile.remove {
            lines.push_str(" remove-on-upgrade");
        }
    }
    if !lines.is_empty() {
        fields.set("Conffiles", lines);
    }
    Ok(fields.to_string())
}

/// Interests in triggers, deb-triggers(5): paths in `triggers/File`, one file for each named trigger.
#[derive(Debug, Default)]
struct Triggers {
    file: String,
    named: BTreeMap<String, String>,
}

impl Triggers {
    fn add(&mut self, package: &Name, text: &str) -> Result<()> {
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let Some((directive, trigger)) = line.split_once(char::is_whitespace) else {
                bail!("its triggers has the line {line:?}");
            };
            let trigger = trigger.trim();
            let options = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                // Nothing is configured yet that could be activated.
                "activate" | "activate-await" | "activate-noawait" => continue,
                _ => bail!("its triggers has the unknown directive {directive:?}"),
            };
            if trigger.starts_with('/') {
                self.file.push_str(&format!("{trigger} {}{options}\n", package.qualified()));
                continue;
            }
            // dpkg-trigger(1): printable ASCII without blanks and slashes.
            let reserved = ["File", "Lock", "Unincorp", ".", ".."].contains(&trigger);
            if reserved || trigger.is_empty() || !trigger.bytes().all(|b| b.is_ascii_graphic() && b != b'/') {
                bail!("its triggers has the name {trigger:?}");
            }
            let entry = self.named.entry(trigger.to_string()).or_default();
            entry.push_str(&format!("{}{options}\n", package.qualified()));
        }
        Ok(())
    }

    fn write(&self, root: &Root) -> Result<()> {
        let write = |name: &str, text: &str| root.write(format!("{ADMIN}/triggers/{name}"), text, 0o644);
        for (name, text) in &self.named {
            write(name, text)?;
        }
        if !self.file.is_empty() {
            write("File", &self.file)?;
        }
        write("Unincorp", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(fields: &str, files: &[(&str, &str)]) -> Control {
        let file = |(name, text): &(&str, &str)| ControlFile {
            name: (*name).into(),
            mode: 0o644,
            mtime: 1_000_000,
            data: (*text).into(),
        };
        Control { fields: Paragraph::parse(fields).expect("good"), files: files.iter().map(file).collect() }
    }

    fn written(control: &Control, unpacked: &Unpacked) -> Result<(tempfile::TempDir, Root)> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = Root::open(dir.path()).expect("it opens");
        write(&root, &[(&Name::new(control)?, control, unpacked)])?;
        Ok((dir, root))
    }

    const A: &str = "Package: a\nVersion: 1\nArchitecture: amd64\n";

    #[test]
    fn what_dpkg_would_have_written() {
        let fields = "Version: 1:2~x\nPackage: lib\nArchitecture: amd64\nMulti-Arch: same\nstatus: hold ok installed\n\
                      Description: short\n long\n";
        let files = [
            ("conffiles", "/etc/x\n/etc/lost\nremove-on-upgrade /etc/gone\n"),
            ("list", "/forged\n"),
            ("odd.name", "x"),
            ("postinst", "#!/bin/sh\n"),
            ("triggers", "# note\ninterest /usr/lib\ninterest-noawait named\nactivate other\n"),
        ];
        let mut unpacked = Unpacked { list: vec![b"/.".to_vec(), b"/etc".to_vec()], ..Unpacked::default() };
        unpacked.obsolete.insert("/etc/lost".into());
        let (_dir, root) = written(&control(fields, &files), &unpacked).expect("it is written");
        let read = |path: &str| root.read_text(format!("{ADMIN}/{path}")).unwrap_or_else(|e| format!("{e:#}"));
        assert_eq!(
            read("status"),
            "Package: lib\nStatus: install ok unpacked\nVersion: 1:2~x\nArchitecture: amd64\nMulti-Arch: same\n\
             Description: short\n long\nConffiles:\n /etc/x newconffile\n /etc/lost newconffile obsolete\n /etc/gone \
             newconffile remove-on-upgrade\n\n"
        );
        assert_eq!(read("info/lib:amd64.list"), "/.\n/etc\n");
        assert_eq!(read("info/format"), "1\n");
        assert_eq!(read("triggers/File"), "/usr/lib lib:amd64\n");
        assert_eq!(read("triggers/named"), "lib:amd64/noawait\n");
        assert!(!root.exists(format!("{ADMIN}/triggers/other")));
        assert!(!root.exists(format!("{ADMIN}/info/lib:amd64.odd.name")));
        let postinst = root.lstat(format!("{ADMIN}/info/lib:amd64.postinst")).expect("stat").expect("there");
        assert_eq!((postinst.st_mode & 0o7777, postinst.st_mtime), (0o755, 1_000_000));
    }

    #[test]
    fn hostile_names_are_refused() {
        for bad in ["Package: ../a\n", "Package: -a\n", "Package: a;b\n", "Package: a'b\n", "Package: a b\n", ""] {
            let fields = format!("{bad}Version: 1\nArchitecture: amd64\n");
            assert!(Name::new(&control(&fields, &[])).is_err(), "{bad:?}");
        }
        assert!(Name::new(&control("Package: a\nVersion: 1/2\nArchitecture: amd64\n", &[])).is_err());
        assert!(Name::new(&control("Package: a\nVersion: 1\nArchitecture: $(x)\n", &[])).is_err());
        for (file, text) in [
            ("triggers", "interest ../x\n"),
            ("triggers", "interest a/b\n"),
            ("triggers", "interest Unincorp\n"),
            ("triggers", "interest\n"),
            ("triggers", "watch x\n"),
            ("conffiles", "etc/relative\n"),
        ] {
            assert!(written(&control(A, &[(file, text)]), &Unpacked::default()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn conffiles_are_placed_beside_those_that_wait() {
        let control = control(A, &[("conffiles", "/etc/x\n/etc/there\n/etc/lost\nremove-on-upgrade /etc/gone\n")]);
        let unpacked = Unpacked { obsolete: ["/etc/lost".to_string()].into(), ..Unpacked::default() };
        let (_dir, root) = written(&control, &unpacked).expect("it is written");
        root.create_dir("etc", 0o755).expect("a folder");
        for name in ["x", "there", "lost"] {
            root.write(format!("etc/{name}.dpkg-new"), "new", 0o640).expect("a file");
        }
        root.write("etc/there", "old", 0o600).expect("a file");
        place_conffiles(&root, &control, &unpacked).expect("they are placed");
        assert_eq!(root.read_text("etc/x").expect("there"), "new");
        assert_eq!(root.lstat("etc/x").expect("stat").expect("there").st_mode & 0o7777, 0o640);
        assert_eq!(root.read_text("etc/there").expect("there"), "old");
        assert!(root.exists("etc/x.dpkg-new") && !root.exists("etc/lost") && !root.exists("etc/gone"));
    }
}

//! The section `[accelerator]`: an engine or provider of OpenSSL's for bulk SM3 and SM4, and the plugin that opens it.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use crate::document::quoted;
use crate::document::{Section, as_text};
use crate::node::render::array;

/// Entries of one list.
const ENTRIES_MAX: usize = 64;

/// An accelerator. Nothing is loaded unless `plugin` is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accelerator {
    /// The plugin for the libcrypto of the engine or provider; empty: none.
    pub plugin: PathBuf,
    /// Id of an engine; empty when there is a provider.
    pub engine: String,
    /// Name of a provider; empty when there is an engine.
    pub provider: String,
    /// Where its module lies; empty: where libcrypto looks.
    pub directory: PathBuf,
    /// Property query of what is fetched from a provider.
    pub properties: String,
    /// Control commands of an engine, `NAME=VALUE`.
    pub commands: Vec<String>,
    /// The only operations it may serve; empty: all it offers.
    pub operations: Vec<String>,
}

const COMMAND: &str = "a command such as \"KAE_CMD_ENABLE_ASYNC=0\"";
const OPERATION: &str =
    "\"sm3\", \"sm4-ecb-encrypt\", \"sm4-ecb-decrypt\", \"sm4-cbc-decrypt\", \"sm4-ctr\" or \"sm2-verify\"";
const OPERATIONS: [&str; 6] = ["sm3", "sm4-ecb-encrypt", "sm4-ecb-decrypt", "sm4-cbc-decrypt", "sm4-ctr", "sm2-verify"];

pub(super) fn read(section: &mut Section<'_, '_, '_>, default: Accelerator) -> Accelerator {
    let read = Accelerator {
        plugin: section.text("plugin", &default.plugin.to_string_lossy()).into(),
        engine: section.text("engine", &default.engine),
        provider: section.text("provider", &default.provider),
        directory: section.text("directory", &default.directory.to_string_lossy()).into(),
        properties: section.text("properties", &default.properties),
        commands: section.list("commands", ENTRIES_MAX, COMMAND, default.commands, |value| {
            as_text(value).filter(|text| text.split_once('=').is_some_and(|(name, _)| !name.is_empty()))
        }),
        operations: section.list("operations", ENTRIES_MAX, OPERATION, default.operations, |value| {
            as_text(value).filter(|text| OPERATIONS.contains(&text.as_str()))
        }),
    };
    judge(section, &read);
    read
}

/// Faults between keys.
fn judge(section: &mut Section<'_, '_, '_>, read: &Accelerator) {
    let (engine, provider) = (!read.engine.is_empty(), !read.provider.is_empty());
    match (!read.plugin.as_os_str().is_empty(), engine, provider) {
        (_, true, true) => {
            section.contradiction("provider", "accelerator.engine is set, too; a plugin opens one: remove the other");
        }
        (true, false, false) => {
            section.contradiction("plugin", "neither accelerator.engine nor accelerator.provider is set: name one");
        }
        (false, true, _) | (false, _, true) => {
            let key = if engine { "engine" } else { "provider" };
            section.contradiction(
                key,
                "no accelerator.plugin to open it: name libbixi_openssl3.so or libbixi_openssl11.so",
            );
        }
        _ => {}
    }
    if provider && !read.commands.is_empty() {
        section.contradiction("commands", "engines have commands, providers have none: remove them");
    }
    if engine && !read.properties.is_empty() {
        section.contradiction("properties", "providers have properties, engines have none: remove them");
    }
}

pub(super) fn render_into(accelerator: &Accelerator, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "[accelerator]\n# Plugin for an accelerator that speaks OpenSSL: libbixi_openssl11.so or libbixi_openssl3.so, by the libcrypto that the\n# engine or provider was made for. Its code then runs in this process. Empty: none is loaded."
    )?;
    writeln!(out, "plugin = {}", quoted(accelerator.plugin.display()))?;
    writeln!(out, "# One of the two: an engine's id (kae, uadk_engine, hct), or a provider's name (uadk_provider).")?;
    writeln!(out, "engine = {}", quoted(&accelerator.engine))?;
    writeln!(out, "provider = {}", quoted(&accelerator.provider))?;
    writeln!(out, "# Where its module lies; empty: where libcrypto looks.")?;
    writeln!(out, "directory = {}", quoted(accelerator.directory.display()))?;
    writeln!(out, "# A provider's property query; an engine's commands, \"NAME=VALUE\".")?;
    writeln!(out, "properties = {}", quoted(&accelerator.properties))?;
    writeln!(out, "commands = {}", array(&accelerator.commands))?;
    writeln!(
        out,
        "# What it may serve where it is measured faster than ours: sm3, sm4-ctr, …; empty: all it offers (`bixi bench accelerator`)."
    )?;
    writeln!(out, "operations = {}\n", array(&accelerator.operations))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::node::NodeConfig;

    const SET: &str = "[accelerator]\nplugin = \"libbixi_openssl11.so\"\nengine = \"kae\"\n";

    fn errors(text: &str) -> String {
        NodeConfig::parse(Path::new("bixi.toml"), text).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_set_section_is_read_and_rendered() {
        let text = format!("{SET}commands = [\"A=1\", \"B==\"]\noperations = [\"sm3\", \"sm4-ctr\"]\n");
        let config = NodeConfig::parse(Path::new("bixi.toml"), &text).unwrap();
        assert_eq!(config.accelerator.engine, "kae");
        assert_eq!(config.accelerator.commands, ["A=1", "B=="]);
        assert_eq!(NodeConfig::parse(Path::new("bixi.toml"), &config.render()).unwrap(), config);
    }

    #[test]
    fn what_contradicts_or_is_no_such_thing_is_refused() {
        let table = [
            ("[accelerator]\nplugin = \"x.so\"\n", "name one"),
            ("[accelerator]\nengine = \"kae\"\n", "no accelerator.plugin"),
            ("[accelerator]\nprovider = \"uadk_provider\"\n", "no accelerator.plugin"),
            (&format!("{SET}provider = \"default\"\n"), "remove the other"),
            (&format!("{SET}properties = \"?fips=yes\"\n"), "engines have none"),
            (&format!("{SET}commands = [\"=1\"]\n"), "KAE_CMD_ENABLE_ASYNC"),
            (&format!("{SET}operations = [\"sm4\"]\n"), "sm4-cbc-decrypt"),
            ("[accelerator]\nplugin = \"x.so\"\nprovider = \"p\"\ncommands = [\"A=1\"]\n", "providers have none"),
        ];
        for (text, words) in table {
            let told = errors(text);
            assert!(told.contains(words), "{words:?} is not in {told}");
        }
    }
}

//! The configuration file.

use metronome_host::BrokerConfig;

/// A text that is refused is so in one line; one that is read says the same once written.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match BrokerConfig::from_toml(text) {
        Err(error) => {
            let error = error.to_string();
            assert!(error.lines().count() == 1, "not one line: {error:?}");
        }
        Ok(config) => {
            assert_eq!(config.check(), Ok(()));
            let written = toml::to_string(&config).expect("what was read can be written");
            assert_eq!(BrokerConfig::from_toml(&written), Ok(config), "{written}");
        }
    }
}

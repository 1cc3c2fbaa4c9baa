//! How much memory there is, and the budget that follows where the operator set none.

use broker_engine::Config;
use std::fs;
use std::path::Path;

/// Sets the memory budget where it is not set: 60 % and 80 % of the memory that this process may use. Where
/// that is not known (it is on Linux), there is no budget.
pub fn set_budget(limits: &mut Config) {
    set_budget_of(limits, available());
}

fn set_budget_of(limits: &mut Config, available: Option<u64>) {
    let Some(available) = available else { return };
    let max = *limits.memory_max.get_or_insert(available / 10 * 8);
    limits.memory_high.get_or_insert((available / 10 * 6).min(max / 4 * 3));
}

/// Bytes of memory that this process may use: that of the machine, or less where its control group says so.
pub fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().filter_map(|line| limit_of(line, Path::new("/sys/fs/cgroup"))).min();
    machine.into_iter().chain(group).min()
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The limit of one line of `/proc/self/cgroup`; every group above counts too.
fn limit_of(line: &str, mount: &Path) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (mount, file) = match controllers {
        "" => (mount.to_owned(), "memory.max"),
        "memory" => (mount.join("memory"), "memory.limit_in_bytes"),
        _ => return None,
    };
    let group = mount.join(path.trim_start_matches('/'));
    let own_and_above = group.ancestors().take_while(|group| group.starts_with(&mount));
    own_and_above.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::{limit_of, set_budget_of, total};
    use broker_engine::Config;
    use std::fs;

    #[test]
    fn total_memory_of_the_machine() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16 << 20));
        assert_eq!(total("MemTotal: much\n"), None);
        assert_eq!(total(""), None);
    }

    /// The smallest limit on the way up; `max` is none.
    #[test]
    fn limits_of_control_groups() {
        let mount = std::env::temp_dir().join(format!("metronome-cgroup-{}", std::process::id()));
        fs::create_dir_all(mount.join("a/b")).unwrap();
        fs::create_dir_all(mount.join("memory/c")).unwrap();
        fs::write(mount.join("a/memory.max"), "5000\n").unwrap();
        fs::write(mount.join("a/b/memory.max"), "max\n").unwrap();
        fs::write(mount.join("memory/c/memory.limit_in_bytes"), "7000\n").unwrap();
        for (line, wanted) in [
            ("0::/a/b", Some(5000)),
            ("0::/", None),
            ("0::/gone", None),
            ("4:memory:/c", Some(7000)),
            ("4:cpu:/a", None),
            ("", None),
        ] {
            assert_eq!(limit_of(line, &mount), wanted, "{line}");
        }
        fs::remove_dir_all(mount).unwrap();
    }

    #[test]
    fn a_budget_is_set_where_there_is_none() {
        let budget = |high, max, available| {
            let mut limits = Config { memory_high: high, memory_max: max, ..Config::default() };
            set_budget_of(&mut limits, available);
            (limits.memory_high, limits.memory_max)
        };
        assert_eq!(budget(None, None, Some(1000)), (Some(600), Some(800)));
        assert_eq!(budget(None, Some(400), Some(1000)), (Some(300), Some(400)));
        assert_eq!(budget(Some(1), Some(2), Some(1000)), (Some(1), Some(2)));
        assert_eq!(budget(None, None, None), (None, None));
    }
}

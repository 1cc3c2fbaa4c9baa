//! Nothing to link: the checks are in `tests/`.

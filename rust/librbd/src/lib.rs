//! librados and librbd, opened at run time, behind a safe API.

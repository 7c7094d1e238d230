//! The placement plan of this node on this machine.

use bixi_config::PlacementMode;
use bixi_platform::placement::{Params, Plan};
use bixi_platform::topology::Topology;

use crate::settings::Settings;

/// Makes the plan; without pinning every thread may run everywhere.
pub(crate) fn plan(settings: &Settings) -> Result<Plan, Box<dyn std::error::Error + Send + Sync>> {
    let topology = Topology::detect()?;
    let params = Params { force_shared: settings.config.placement == PlacementMode::Off, ..Params::default() };
    Ok(Plan::make(&topology, &params))
}

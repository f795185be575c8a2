//! What a template names is all that it is given: a value that is made and not used costs as much as one that is, and the
//! hosts of a large cluster cost every template of every host the more, the more there are.

use std::collections::{BTreeSet, HashSet};

use super::Variables;
use super::scan;
use crate::inventory::Inventory;

/// The members of a variable that templates name.
#[derive(Debug, Clone)]
pub(super) enum Named {
    /// They may use any.
    Any,
    /// No others than these.
    Only(BTreeSet<String>),
}

impl Named {
    /// What any of these texts names of a variable.
    pub(super) fn members_of<'a>(variable: &str, texts: impl Iterator<Item = &'a str>) -> Self {
        let mut all = BTreeSet::new();
        for text in texts {
            match scan::members(text, variable) {
                Some(members) => all.extend(members.into_iter().map(str::to_owned)),
                None => return Self::Any,
            }
        }
        Self::Only(all)
    }

    fn has(&self, member: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(members) => members.contains(member),
        }
    }
}

/// The named fields of a struct, as templates see them. All fields have to be listed, or it does not compile.
macro_rules! named_fields {
    ($type:ident { $($field:ident),* $(,)? } of $value:expr, if $is_named:expr, into $take:expr) => {{
        let $type { $($field),* } = $value;
        $(if $is_named(stringify!($field)) {
            $take(stringify!($field), tera::Value::try_from_serializable($field)?);
        })*
    }};
}

/// The variables of these names, and of the inventory what is named of it.
pub(super) fn named_variables(
    variables: &Variables<'_>,
    named: &HashSet<&str>,
    of_inventory: &Named,
) -> tera::TeraResult<tera::Context> {
    let mut context = tera::Context::new();
    if named.contains("inventory") {
        context.insert_value("inventory", members(variables.inventory, of_inventory)?);
    }
    named_fields!(
        Variables {
            inventory,
            node,
            role,
            masters,
            workers,
            load_balancers,
            peers,
            priority,
            interface,
            prefix,
            control_plane_endpoint,
            ca_file,
            lb_has_ca,
            containerd,
            pause_image,
            kubeadm_api,
            cert_sans,
            etcd_members,
            etcd_member,
            etcd_beginning,
            etcd_joins,
            etcd_client,
            skip_phases,
            ignore_errors,
            taints,
        } of variables,
        if |name| name != "inventory" && named.contains(name),
        into |name, value| context.insert_value(name, value)
    );
    Ok(context)
}

fn members(inventory: &Inventory, named: &Named) -> tera::TeraResult<tera::Value> {
    let mut members = tera::Map::new();
    named_fields!(
        Inventory {
            path,
            name,
            kubernetes,
            vip,
            network,
            packages,
            images,
            containerd,
            cni,
            audit,
            ingress,
            kubelet,
            kube_proxy,
            kubeadm,
            etcd,
            load_balancer,
            sysctls,
            overlay,
            nodes,
        } of inventory,
        if |name| named.has(name),
        into |name: &'static str, value| members.insert(name.into(), value)
    );
    Ok(tera::Value::from(members))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::World;

    fn of(world: &World, named: &[&str], of_inventory: &Named) -> tera::Context {
        let variables = Variables::new(&world.cx());
        named_variables(&variables, &named.iter().copied().collect(), of_inventory)
            .expect("serialises")
    }

    #[test]
    fn named_values_are_those_that_serialise() {
        let world = World::new("master1");
        let whole = serde_json::to_value(Variables::new(&world.cx())).expect("serialises");
        let fields = whole.as_object().expect("a struct");
        let names: Vec<&str> = fields.keys().map(String::as_str).collect();
        let context = of(&world, &names, &Named::Any);
        for (name, value) in fields {
            let given = context.get(name).expect("it is named");
            assert_eq!(serde_json::to_value(given).expect("JSON"), *value, "{name}");
        }
    }

    #[test]
    fn nothing_else_is_given() {
        let world = World::new("master1");
        let only = Named::members_of(
            "inventory",
            ["{{ inventory.name }}{{ role }}", "{{ inventory.vip.port }}"].into_iter(),
        );
        let context = of(&world, &["inventory", "role"], &only);
        assert!(!context.contains_key("masters"));
        let inventory = context.get("inventory").expect("it is named");
        let inventory = serde_json::to_value(inventory).expect("JSON");
        let members = inventory.as_object().map(serde_json::Map::len);
        assert_eq!(members, Some(2), "{inventory}");
        let name = Value::from(world.inventory.name.clone());
        assert_eq!(inventory.get("name"), Some(&name));
    }

    #[test]
    fn who_uses_it_whole_gets_it_whole() {
        let texts = ["{{ inventory.name }}", "{% set all = inventory %}"];
        let named = Named::members_of("inventory", texts.into_iter());
        assert!(named.has("nodes"));
    }
}

locals {
  name    = "pai-prod"
  version = join(".", [for it in split(".", trimprefix(var.release, "v")) : tostring(tonumber(it))])
}

# What the office knows. It outlives every machine.
resource "digitalocean_volume" "data" {
  name                    = "pai-data"
  region                  = var.region
  size                    = var.volume_gb
  initial_filesystem_type = "ext4"
  description             = "TinyClaw: state, home, workspace, the broker's log"
  lifecycle {
    prevent_destroy = true
  }
}

resource "digitalocean_droplet" "office" {
  name       = local.name
  region     = var.region
  size       = var.size
  image      = "ubuntu-24-04-x64"
  ssh_keys   = [var.ssh_fingerprint]
  monitoring = true
  backups    = true
  ipv6       = true
  tags       = ["tinyclaw"]
  user_data = templatefile("${path.module}/cloud-init.yaml.tftpl", {
    hostname           = local.name
    package_url        = "${var.release_base}/download/${var.release}/tinyclaw_${local.version}_amd64.deb"
    package_sha256     = var.release_sha256
    tailscale_auth_key = var.tailscale_auth_key
  })
  lifecycle {
    # A release never replaces a machine: `tinyclaw update` does that in it.
    ignore_changes = [user_data, image]
  }
}

resource "digitalocean_volume_attachment" "data" {
  droplet_id = digitalocean_droplet.office.id
  volume_id  = digitalocean_volume.data.id
}

resource "digitalocean_firewall" "office" {
  name        = local.name
  droplet_ids = [digitalocean_droplet.office.id]

  inbound_rule {
    protocol         = "tcp"
    port_range       = "22"
    source_addresses = var.ssh_from
  }
  # Tailscale, from machine to machine.
  inbound_rule {
    protocol         = "udp"
    port_range       = "41641"
    source_addresses = ["0.0.0.0/0", "::/0"]
  }
  inbound_rule {
    protocol         = "icmp"
    source_addresses = ["0.0.0.0/0", "::/0"]
  }
  dynamic "outbound_rule" {
    for_each = ["tcp", "udp"]
    content {
      protocol              = outbound_rule.value
      port_range            = "1-65535"
      destination_addresses = ["0.0.0.0/0", "::/0"]
    }
  }
  outbound_rule {
    protocol              = "icmp"
    destination_addresses = ["0.0.0.0/0", "::/0"]
  }
}

resource "digitalocean_project" "office" {
  name        = "tinyclaw"
  description = "An office of Claude agents"
  purpose     = "Service or API"
  environment = "Production"
  resources   = [digitalocean_droplet.office.urn, digitalocean_volume.data.urn]
}

output "address" {
  description = "Where the machine is, when the tailnet is lost."
  value       = digitalocean_droplet.office.ipv4_address
}

output "ssh" {
  description = "How to get in."
  value       = "ssh root@${local.name}"
}

output "log" {
  description = "What the first minutes said."
  value       = "ssh root@${local.name} cat /var/log/pai-setup.log"
}

output "volume" {
  description = "What `destroy` leaves: -exclude=digitalocean_volume.data"
  value       = digitalocean_volume.data.id
}

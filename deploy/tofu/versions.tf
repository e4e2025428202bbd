terraform {
  required_version = ">= 1.10"
  required_providers {
    digitalocean = {
      source  = "digitalocean/digitalocean"
      version = "~> 2.71"
    }
  }
  # Bucket and endpoint: backend.hcl, from backend.hcl.example. Keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, by environment.
  # Spaces is no Amazon, so what only Amazon has is not asked for. It is not known to hold a lock: the workflow's concurrency
  # is the lock, and whoever applies by hand is alone.
  backend "s3" {
    key                         = "pai-prod/tofu.tfstate"
    region                      = "us-east-1"
    skip_credentials_validation = true
    skip_metadata_api_check     = true
    skip_region_validation      = true
    skip_requesting_account_id  = true
    skip_s3_checksum            = true
  }
}

# The token comes by environment: DIGITALOCEAN_TOKEN.
provider "digitalocean" {}

package configs

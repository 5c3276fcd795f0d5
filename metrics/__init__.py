"""How well lips and speech fit, how like the truth a mouth is; of videos, and of generators on clips kept aside."""

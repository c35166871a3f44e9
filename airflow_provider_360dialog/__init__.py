"""Apache Airflow provider for the WhatsApp media endpoints of 360dialog."""

grep -ls -e "^[^#]*$1" /etc/apt/sources.list /etc/apt/sources.list.d/* || :

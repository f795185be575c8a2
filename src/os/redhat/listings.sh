grep -ls -e "^[^#]*$1" /etc/yum.repos.d/* || :

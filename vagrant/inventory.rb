# Reads the inventories that quorate reads, as far as virtual machines need them: who there is, and where.

require "yaml"

# A cluster's inventory file.
class Inventory
  # One machine.
  Host = Struct.new(:name, :role, :address)

  ROLES = %w[lb etcd masters workers].freeze
  RANGE = /\A(?<before>[^\[]*)\[(?<first>\d+)-(?<last>\d+)\](?<after>.*)\z/

  def initialize(path)
    @path = File.expand_path(path)
    @data = YAML.safe_load(File.read(@path), aliases: true)
  end

  # All machines: load balancers, etcd's own, masters, workers, each in the order of the file.
  def hosts
    ROLES.flat_map do |role|
      listed(role).flat_map { |name, value| expand(role, name, value) }
    end
  end

  # Who logs in; quorate's own default is root.
  def user
    @data.dig("ssh", "user") || "root"
  end

  # The same inventory for another directory and with other SSH settings, as YAML.
  def with_ssh(settings)
    moved = absolute(@data)
    moved["ssh"] = (moved["ssh"] || {}).merge(settings)
    YAML.dump(moved)
  end

  private

  # Of etcd's members those that are machines of their own: the others are masters, and have no address here.
  def listed(role)
    return @data[role] || {} unless role == "etcd"

    members = @data.dig("etcd", "hosts")
    return {} unless members.is_a?(Hash)

    members.reject { |_, value| value.nil? || (value.is_a?(Hash) && !value.key?("address")) }
  end

  def expand(role, name, value)
    address = value.is_a?(Hash) ? value.fetch("address") : value
    names = series(name.to_s)
    addresses = series(address.to_s)
    if names.size != addresses.size
      raise ArgumentError, "#{@path}: #{name} names #{names.size} hosts, #{address} #{addresses.size} addresses"
    end

    names.zip(addresses).map { |each_name, each_address| Host.new(each_name, role, each_address) }
  end

  # `worker[02-20]` is nineteen names; the first number's width is kept.
  def series(text)
    range = RANGE.match(text)
    return [text] unless range

    width = range[:first].start_with?("0") ? range[:first].length : 0
    numbers = (range[:first].to_i..range[:last].to_i)
    numbers.map { |number| format("%<before>s%<number>0#{width}d%<after>s", before: range[:before], number: number, after: range[:after]) }
  end

  # Files that the inventory names relative to itself are named absolutely.
  def absolute(value)
    case value
    when Hash then value.transform_values { |inner| absolute(inner) }
    when Array then value.map { |inner| absolute(inner) }
    when String then absolute_path(value)
    else value
    end
  end

  def absolute_path(text)
    beside = File.expand_path(text, File.dirname(@path))
    text.match?(%r{[./]}) && File.file?(beside) ? beside : text
  end
end
